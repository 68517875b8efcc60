package lab

import (
	"encoding/binary"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tapMachine acts as a virtual machine at the other end of a wire: it accepts every TCP connection
// over IPv4.
func tapMachine(t *testing.T, w *Wire) {
	t.Helper()
	var tap *os.File
	err := w.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		request, err := unix.NewIfreq("eth0")
		if err != nil {
			return err
		}
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
			return err
		}
		// Attach the device before the runtime's poller sees it. It must not block, so that Close
		// ends Read.
		tap = os.NewFile(uintptr(fd), "tap")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = tap.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 2048)
		for {
			n, err := tap.Read(buf)
			if err != nil {
				return
			}
			if frame := synAck(buf[:n]); frame != nil {
				_, _ = tap.Write(frame)
			}
		}
	}()
}

// synAck returns the SYN-ACK to a SYN, and nil for other frames.
func synAck(frame []byte) []byte {
	p, ok := parse(frame)
	if !ok || p.six || p.protocol != TCP || p.payload[13] != tcpSYN {
		return nil
	}
	out := make([]byte, ethernetSize+ipv4Size+20)
	copy(out, frame[6:12])
	copy(out[6:], frame[:6])
	binary.BigEndian.PutUint16(out[12:], etherIPv4)
	ip, tcp := out[ethernetSize:], out[ethernetSize+ipv4Size:]
	ip[0], ip[3], ip[8], ip[9] = 0x45, ipv4Size+20, 64, byte(TCP)
	copy(ip[12:], p.to.AsSlice())
	copy(ip[16:], p.from.AsSlice())
	binary.BigEndian.PutUint16(ip[10:], ^foldChecksum(addChecksum(0, ip[:ipv4Size])))
	copy(tcp, p.payload[2:4])
	copy(tcp[2:], p.payload[:2])
	binary.BigEndian.PutUint32(tcp[8:], binary.BigEndian.Uint32(p.payload[4:])+1)
	tcp[12], tcp[13] = 5<<4, tcpSYN|tcpACK
	binary.BigEndian.PutUint16(tcp[14:], 1024)
	binary.BigEndian.PutUint16(tcp[16:],
		^foldChecksum(addChecksum(addChecksum(uint32(TCP)+20, ip[12:20]), tcp)))
	return out
}

// Answers of a machine on a wire reach spoofed probes, connections and captures.
func TestWire(t *testing.T) {
	RequireRoot(t)
	own, machine := mac(100, 1), mac(100, 2)
	address := netip.MustParseAddr("198.51.100.10")
	w := NewWire(t, own, machine, []netip.Addr{address}, netip.MustParsePrefix("198.51.100.1/24"))
	w.AddSources(netip.MustParsePrefix("10.20.1.0/24"))
	if at, err := w.routes.LinkByName("eth0"); err != nil ||
		at.Attrs().HardwareAddr.String() != own.String() {
		t.Fatalf("the wire's end is %v instead of %v: %v", at.Attrs().HardwareAddr, own, err)
	}
	capture := w.Capture()
	stream := w.Stream(consecutiveAddresses("8.3.0.0", 4), netip.AddrPortFrom(address, 9090),
		Rate(2000))
	stream.WaitRounds(2)
	if stream.Answered() != 0 || !capture.First().IsZero() {
		t.Error("somebody answered before there was a machine")
	}
	tapMachine(t, w)
	c, err := w.Dial(t.Context(), "tcp", "198.51.100.10:9090",
		From(netip.MustParseAddr("10.20.1.1")), Timeout(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	stream.WaitRounds(5)
	report := stream.Stop()
	seen, lost, err := capture.Stop()
	if err != nil || lost != 0 {
		t.Fatalf("%d lost: %v", lost, err)
	}
	open := 0
	for _, s := range seen {
		if s.Open() && !s.Reset() && s.From == netip.AddrPortFrom(address, 9090) &&
			s.To.Addr() != netip.MustParseAddr("10.20.1.1") {
			open++
		}
	}
	if report.Open == 0 || open < report.Open {
		t.Errorf("%d probes were answered, and the capture has %d answers", report.Open, open)
	}
}
