package boot

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/portgrave/portgrave/test/debian"
	"github.com/portgrave/portgrave/test/lab"
)

// Addresses on the wire; testdata/root/usr/local/lib/test/nic has the same.
var (
	machineMAC = net.HardwareAddr{0x02, 0x1a, 0xb0, 0, 0x64, 0x10}
	machine4   = netip.MustParseAddr("198.51.100.10")
	machine6   = netip.MustParseAddr("2001:db8:100::10")
	wireMAC    = net.HardwareAddr{0x02, 0x1a, 0xb0, 0, 0x64, 0x01}
	wire4      = netip.MustParsePrefix("198.51.100.1/24")
	wire6      = netip.MustParsePrefix("2001:db8:100::1/64")
)

// machineTimeout is how long a machine may be silent. On an idle host it takes about a minute to
// start.
const machineTimeout = 8 * time.Minute

// machine is a virtual machine.
type machine struct {
	t       lab.TB
	qemu    *exec.Cmd
	on      time.Time
	offOnce sync.Once
	power   io.Closer
	closed  chan struct{} // closed when the serial port is closed

	mu      sync.Mutex
	lines   []line
	newLine chan struct{} // closed, and replaced, with each line
}

// line is a line from the machine's serial port, and when it came.
type line struct {
	at   time.Time
	text string
}

// killOnEOF runs a program until standard input is closed, which happens even if the test is
// killed.
const killOnEOF = `"$0" "$@" </dev/null & exec >&- 2>&-; read -r _; kill -9 $!; wait`

// powerOn starts a machine, and switches it off when the test ends. It discards changes to the disk
// unless keep is set.
func powerOn(t lab.TB, wire *lab.Wire, disk, initrd string, keep bool) *machine {
	t.Helper()
	image, _, _ := debian.Kernel(t)
	snapshot := map[bool]string{true: "off", false: "on"}[keep]
	return launch(
		t,
		wire.Command(context.Background(), "sh",
			append(emulatorArgs(image, initrd, disk, snapshot, "512"),
				"-netdev", "tap,id=n0,ifname=eth0,script=no,downscript=no",
				"-device", "virtio-net-pci,netdev=n0,romfile=,mac="+machineMAC.String())...),
	)
}

// emulatorArgs returns arguments for sh to start a machine without a network card. memory is in
// MiB.
func emulatorArgs(image, initrd, disk, snapshot, memory string) []string {
	// One processor: with two, qemu 7.2 sometimes breaks a kernel that changes its own code or uses
	// cmpxchg16b on the other one (seen: an oops at the kernel's own int3, and one in SLUB with
	// flags that are an address).
	return []string{"-c", killOnEOF, "qemu-system-x86_64",
		"-M", "q35", "-accel", "tcg,thread=single", "-cpu", "qemu64,-cx16", "-smp", "1", "-m",
		memory,
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", image, "-initrd", initrd,
		// Keep the kernel's names of interfaces. Start no getty, which would take the serial port.
		"-append", "console=ttyS0 quiet panic=-1 mitigations=off audit=0 apparmor=0 " +
			"root=/dev/vda rw net.ifnames=0 systemd.getty_auto=0 systemd.show_status=0",
		"-drive", "id=d0,file=" + disk + ",format=raw,if=none,cache=unsafe,snapshot=" + snapshot,
		"-device", "virtio-blk-pci,drive=d0", "-object", "rng-random,id=r0,filename=/dev/urandom",
		"-device", "virtio-rng-pci,rng=r0",
		"-serial", "stdio", "-monitor", "none"}
}

// launch starts a machine, and switches it off when the test ends.
func launch(t lab.TB, qemu *exec.Cmd) *machine {
	t.Helper()
	m := &machine{t: t, qemu: qemu, closed: make(chan struct{}), newLine: make(chan struct{})}
	out, err := m.qemu.StdoutPipe()
	if err != nil {
		t.Fatalf("%v", err)
	}
	if m.power, err = m.qemu.StdinPipe(); err != nil {
		t.Fatalf("%v", err)
	}
	m.qemu.Stderr = m.qemu.Stdout
	m.on = time.Now()
	if err := m.qemu.Start(); err != nil {
		t.Fatalf("starting a virtual machine: %v (run make deps)", err)
	}
	go m.read(out)
	t.Cleanup(m.off)
	return m
}

func (m *machine) read(out io.Reader) {
	defer close(m.closed)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		text := strings.TrimRight(lines.Text(), "\r")
		m.mu.Lock()
		m.lines = append(m.lines, line{time.Now(), text})
		close(m.newLine)
		m.newLine = make(chan struct{})
		m.mu.Unlock()
	}
}

// off cuts the power: what the machine has not written to its disk is lost.
func (m *machine) off() {
	m.offOnce.Do(func() {
		_ = m.power.Close()
		<-m.closed
		_ = m.qemu.Wait()
	})
}

// find returns the rest of the first line "test: WORD", and when it came.
func (m *machine) find(word string) (line, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.lines {
		if _, after, ok := strings.Cut(l.text, "test: "+word); ok &&
			(after == "" || after[0] == ' ') {
			return line{l.at, strings.TrimSpace(after)}, true
		}
	}
	return line{}, false
}

// await waits for a word from the machine. If the machine stays silent, the test fails with the
// machine's last lines.
func (m *machine) await(word string) line {
	m.t.Helper()
	for {
		m.mu.Lock()
		more := m.newLine
		m.mu.Unlock()
		if l, ok := m.find(word); ok {
			return l
		}
		silence := time.NewTimer(machineTimeout)
		select {
		case <-more:
			silence.Stop()
		case <-m.closed:
			silence.Stop()
			if l, ok := m.find(word); ok {
				return l
			}
			m.t.Fatalf("the machine ended before it said %q. The last it wrote:\n%s",
				word, m.tail())
		case <-silence.C:
			m.t.Fatalf(
				"the machine was silent for %v, and did not say %q. The last it wrote:\n%s",
				machineTimeout,
				word,
				m.tail(),
			)
		}
	}
}

// tail returns the machine's last lines.
func (m *machine) tail() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var b strings.Builder
	for _, l := range m.lines[max(0, len(m.lines)-200):] {
		fmt.Fprintf(&b, "%8.3f  %s\n", l.at.Sub(m.on).Seconds(), l.text)
	}
	return b.String()
}
