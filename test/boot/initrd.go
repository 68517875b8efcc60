package boot

import (
	"os"

	"github.com/portgrave/portgrave/test/debian"
	"github.com/portgrave/portgrave/test/lab"
)

// initProgram mounts the disk, runs the case's script on it, and starts systemd.
const initProgram = `#!/busybox sh
/busybox mount -t devtmpfs dev /dev
/busybox mount -t proc proc /proc
for m in $(/busybox cat /modules/order); do
	/busybox insmod /modules/$m || /busybox echo "test: module $m can't be loaded"
done
n=0
until [ -b /dev/vda ] || [ $n = 100 ]; do n=$((n+1)); /busybox sleep 0.1; done
/busybox mount -t ext4 -o rw /dev/vda /root || /busybox echo "test: no disk"
/busybox --install -s /bin
PATH=/bin sh -eu /case /root || /busybox echo "test: the case could not be prepared"
echo "test: disk"
/busybox umount /proc
/busybox mount --move /dev /root/dev
exec /busybox switch_root /root /sbin/init
`

// writeInitrd writes an initrd to a file. prepare is a shell script that changes the disk, which is
// mounted at $1.
func writeInitrd(t lab.TB, file, prepare string) {
	t.Helper()
	_, modules, busybox := debian.Kernel(t)
	writeInitrdOf(t, file, modules, busybox, prepare)
}

// writeInitrdOf is writeInitrd for the kernel whose modules are in a folder.
func writeInitrdOf(t lab.TB, file, modules, busybox, prepare string) {
	t.Helper()
	loaded, err := readModules(modules, busybox, "virtio_pci", "virtio_blk", "virtio_net", "ext4")
	if err != nil {
		t.Fatalf("%v", err)
	}
	box, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatalf("%v", err)
	}
	var a archive
	for _, d := range []string{"dev", "proc", "root", "bin", "modules"} {
		a.dir(d)
	}
	a.device("dev/console", 5, 1)
	a.file("busybox", box)
	a.file("init", []byte(initProgram))
	a.file("case", []byte(prepare))
	var order []byte
	for _, m := range loaded {
		a.file("modules/"+m.name, m.content)
		order = append(order, m.name+"\n"...)
	}
	a.file("modules/order", order)
	if err := os.WriteFile(file, a.end(), 0o600); err != nil {
		t.Fatalf("%v", err)
	}
}
