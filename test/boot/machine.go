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

// What the machine is on its wire; testdata/root/usr/local/lib/test/nic has the same.
var (
	machineMAC = net.HardwareAddr{0x02, 0x1a, 0xb0, 0, 0x64, 0x10}
	machine4   = netip.MustParseAddr("198.51.100.10")
	machine6   = netip.MustParseAddr("2001:db8:100::10")
	wireMAC    = net.HardwareAddr{0x02, 0x1a, 0xb0, 0, 0x64, 0x01}
	wire4      = netip.MustParsePrefix("198.51.100.1/24")
	wire6      = netip.MustParsePrefix("2001:db8:100::1/64")
)

// patience is how long a machine may take from one sign of life to the next. It takes about a
// minute to start where nothing else runs.
const patience = 8 * time.Minute

// machine is a virtual machine that runs, or ran.
type machine struct {
	t     lab.TB
	qemu  *exec.Cmd
	on    time.Time
	once  sync.Once
	power io.Closer
	ends  chan struct{} // closed when the serial port has no more to say

	mu    sync.Mutex
	lines []line
	more  chan struct{} // closed, and made anew, with each line
}

// line is what the machine wrote to its serial port, and when it came.
type line struct {
	at   time.Time
	text string
}

// lifeline runs a program until standard input is closed, which happens even if the test is killed.
const lifeline = `"$0" "$@" </dev/null & exec >&- 2>&-; read -r _; kill -9 $!; wait`

// powerOn starts a machine. Its disk is left as it is unless keep is set. It is switched off when
// the test ends.
func powerOn(t lab.TB, wire *lab.Wire, disk, initrd string, keep bool) *machine {
	t.Helper()
	image, _, _ := debian.Kernel(t)
	snapshot := map[bool]string{true: "off", false: "on"}[keep]
	return launch(
		t,
		wire.Command(context.Background(), "sh", append(emulator(image, initrd, disk, snapshot, "512"),
			"-netdev", "tap,id=n0,ifname=eth0,script=no,downscript=no",
			"-device", "virtio-net-pci,netdev=n0,romfile=,mac="+machineMAC.String())...),
	)
}

// emulator are the arguments of sh that make it start a machine without a network card, with so
// many MiB of memory.
func emulator(image, initrd, disk, snapshot, memory string) []string {
	// One processor. With two, qemu 7.2 now and then breaks a kernel that changes its own code or uses
	// cmpxchg16b while the other one runs (seen: an oops at an int3 of the kernel's own, and one in
	// SLUB with flags that are an address).
	return []string{"-c", lifeline, "qemu-system-x86_64",
		"-M", "q35", "-accel", "tcg,thread=single", "-cpu", "qemu64,-cx16", "-smp", "1", "-m", memory,
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", image, "-initrd", initrd,
		// The names of interfaces as the kernel gives them. No getty, which would take the serial port
		// away.
		"-append", "console=ttyS0 quiet panic=-1 mitigations=off audit=0 apparmor=0 root=/dev/vda rw net.ifnames=0 systemd.getty_auto=0 systemd.show_status=0",
		"-drive", "id=d0,file=" + disk + ",format=raw,if=none,cache=unsafe,snapshot=" + snapshot,
		"-device", "virtio-blk-pci,drive=d0", "-object", "rng-random,id=r0,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=r0",
		"-serial", "stdio", "-monitor", "none"}
}

// launch starts a machine, which is switched off when the test ends.
func launch(t lab.TB, qemu *exec.Cmd) *machine {
	t.Helper()
	m := &machine{t: t, qemu: qemu, ends: make(chan struct{}), more: make(chan struct{})}
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
	defer close(m.ends)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		text := strings.TrimRight(lines.Text(), "\r")
		m.mu.Lock()
		m.lines = append(m.lines, line{time.Now(), text})
		close(m.more)
		m.more = make(chan struct{})
		m.mu.Unlock()
	}
}

// off takes the power away: what the machine has not written to its disk is lost.
func (m *machine) off() {
	m.once.Do(func() {
		_ = m.power.Close()
		<-m.ends
		_ = m.qemu.Wait()
	})
}

// said returns what followed "test: WORD" in the first such line, and when that came.
func (m *machine) said(word string) (line, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.lines {
		if _, after, ok := strings.Cut(l.text, "test: "+word); ok && (after == "" || after[0] == ' ') {
			return line{l.at, strings.TrimSpace(after)}, true
		}
	}
	return line{}, false
}

// await waits until the machine says a word. If it falls silent before, the test ends with the last
// that it wrote.
func (m *machine) await(word string) line {
	m.t.Helper()
	for {
		m.mu.Lock()
		more := m.more
		m.mu.Unlock()
		if l, ok := m.said(word); ok {
			return l
		}
		silence := time.NewTimer(patience)
		select {
		case <-more:
			silence.Stop()
		case <-m.ends:
			silence.Stop()
			if l, ok := m.said(word); ok {
				return l
			}
			m.t.Fatalf("the machine ended before it said %q. The last it wrote:\n%s", word, m.tail())
		case <-silence.C:
			m.t.Fatalf(
				"the machine was silent for %v, and did not say %q. The last it wrote:\n%s",
				patience,
				word,
				m.tail(),
			)
		}
	}
}

// tail is the last that the machine wrote.
func (m *machine) tail() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var b strings.Builder
	for _, l := range m.lines[max(0, len(m.lines)-200):] {
		fmt.Fprintf(&b, "%8.3f  %s\n", l.at.Sub(m.on).Seconds(), l.text)
	}
	return b.String()
}
