package denied

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/portgrave/portgrave/test/lab"
	"golang.org/x/sys/unix"
)

// listenerProcess is an environment variable that makes the test binary only listen, so that its
// memory and processor time can be measured apart from the flood's.
const listenerProcess = "PORTGRAVE_TEST_LISTENER"

func TestMain(m *testing.M) {
	if os.Getenv(listenerProcess) != "" {
		if err := runListenerProcess(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// outcome is the report of the listening process.
type outcome struct {
	Stats
	Events                 int
	Denied, LossesReported uint64        // packets in events with these actions
	Sources                uint64        // the highest estimate of an event
	CPU                    time.Duration // user and system time since it listens
	Heap, Address          uint64        // most bytes in use, and obtained from the system
	Resident               int64         // most KiB
}

// floodWindow is short, so that a flood of a few seconds has several windows.
const floodWindow = time.Second

// runListenerProcess listens. It prints "ready", answers each input line with the Stats, and prints
// the outcome at the end of its input.
func runListenerProcess(in io.Reader, out io.Writer) error {
	sizes := defaultLimits
	sizes.window = floodWindow
	l, err := open(sizes)
	if err != nil {
		return err
	}
	var o outcome
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	lines := JSON(io.Discard)
	ended := make(chan error)
	go func() {
		ended <- l.Run(ctx, func(e Event) error {
			o.Events++
			if e.Action == Lost {
				o.LossesReported += e.Count
			} else {
				o.Denied += e.Count
			}
			o.Sources = max(o.Sources, e.Sources)
			return lines(e)
		})
	}()
	before := processorTime()
	encoder := json.NewEncoder(out)
	fmt.Fprintln(out, `"ready"`)
	questions := make(chan struct{})
	go func() {
		defer close(questions)
		for s := bufio.NewScanner(in); s.Scan(); {
			questions <- struct{}{}
		}
	}()
	sample := time.NewTicker(100 * time.Millisecond)
	defer sample.Stop()
	for {
		select {
		case <-sample.C:
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			o.Heap, o.Address = max(o.Heap, m.HeapInuse), max(o.Address, m.Sys)
		case _, more := <-questions:
			if more {
				if err := encoder.Encode(l.Stats()); err != nil {
					return err
				}
				continue
			}
			o.CPU = processorTime() - before
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				return err
			}
			o.Stats = l.Stats()
			o.Resident = resourceUsage().Maxrss
			return encoder.Encode(o)
		}
	}
}

func resourceUsage() unix.Rusage {
	var r unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &r)
	return r
}

func processorTime() time.Duration {
	r := resourceUsage()
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// floodTable logs every packet of the flood and counts them, without the policy's rate limit.
const floodTable = `table inet flood {
	counter reported { }
	chain prerouting {
		type filter hook prerouting priority -300
		udp dport 1-1024 counter name reported log prefix "portgrave:denied:prometheus" group 9090 snaplen 128 drop
	}
}`

// sprayer sends UDP frames from changing sources to a host, through an AF_PACKET socket.
type sprayer struct {
	fd    int
	frame []byte
	count uint32
	ports uint16
}

// newSprayer opens the socket at a router, on the interface towards the host.
func newSprayer(t testing.TB, from, to *lab.Node, ports uint16) *sprayer {
	t.Helper()
	out, in := from.Link("eth1"), to.Link("eth0")
	s := &sprayer{fd: -1, ports: ports, frame: make([]byte, 14+20+8+22)}
	if err := from.Do(func() (err error) {
		if s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		// ETH_P_IP in network order
		return unix.Bind(s.fd, &unix.SockaddrLinklayer{Protocol: 0x0008, Ifindex: out.Index})
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(s.fd) })
	copy(s.frame, in.MAC)
	copy(s.frame[6:], out.MAC)
	s.frame[12] = 0x08 // ETH_P_IP
	ip := s.frame[14:]
	ip[0], ip[8], ip[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	destination := to.Addr4().As4()
	copy(ip[16:], destination[:])
	binary.BigEndian.PutUint16(ip[20:], 40000)
	binary.BigEndian.PutUint16(ip[24:], uint16(len(ip)-20)) // no checksum, as RFC 768 allows
	return s
}

func (s *sprayer) send() error {
	s.count++
	ip := s.frame[14:]
	// 2²⁴ sources in scrambled order.
	binary.BigEndian.PutUint32(ip[12:], 11<<24|s.count*2654435761>>8)
	binary.BigEndian.PutUint16(ip[22:], 1+uint16(s.count)%s.ports)
	binary.BigEndian.PutUint16(ip[10:], 0)
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum>>16+sum))
	_, err := unix.Write(s.fd, s.frame)
	if errors.Is(err, unix.ENOBUFS) {
		return nil
	}
	return err
}

// spray sends for a duration, at a rate in packets a second or, with 0, as fast as possible. It
// returns the number of packets and the time taken.
func (s *sprayer) spray(t testing.TB, d time.Duration, rate int) (int, time.Duration) {
	t.Helper()
	const most = 10_000_000
	begin, sent := time.Now(), 0
	for ; sent < most; sent++ {
		if sent%64 == 0 {
			now := time.Since(begin)
			if now >= d {
				break
			}
			if rate > 0 {
				if ahead := time.Duration(sent)*time.Second/time.Duration(rate) - now; ahead > time.Millisecond {
					time.Sleep(ahead)
				}
			}
		}
		if err := s.send(); err != nil {
			t.Fatal(err)
		}
	}
	return sent, time.Since(begin)
}

// A flood from changing sources, at 100 000 packets a second and at full speed: memory and events
// stay within their bounds, and every packet is accounted for. -v prints the cost.
func TestFlood(t *testing.T) {
	lab.RequireRoot(t)
	for _, tt := range []struct {
		name  string
		rate  int
		ports uint16
	}{
		{"100000 a second, one port", 100_000, 1},
		{"100000 a second, 1000 ports", 100_000, 1000},
		{"full speed, one port", 0, 1},
		{"full speed, 1000 ports", 0, 1000},
	} {
		t.Run(tt.name, func(t *testing.T) { testFlood(t, tt.rate, tt.ports) })
	}
}

func testFlood(t *testing.T, rate int, ports uint16) {
	const length = 2 * time.Second
	w := lab.New(t)
	w.PinNeighbours()
	w.Host.NFT(floodTable)
	s := newSprayer(t, w.Router, w.Host, ports)
	alone, aloneTook := s.spray(t, length/4, rate)

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w.Host.NFT("reset counter inet flood reported")
	cmd := w.Host.Command(context.Background(), self)
	cmd.Env = append(os.Environ(), listenerProcess+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	answers := json.NewDecoder(stdout)
	var ready string
	if err := answers.Decode(&ready); err != nil {
		t.Fatal(err)
	}

	sent, took := s.spray(t, length, rate)

	// When all reports are read, one more packet reveals by its number what was lost at the end.
	quiet := func() (now Stats) {
		for before := (Stats{Received: 1}); now != before; {
			before = now
			time.Sleep(2 * batchWait)
			if _, err := fmt.Fprintln(in); err != nil {
				t.Fatal(err)
			}
			if err := answers.Decode(&now); err != nil {
				t.Fatal(err)
			}
		}
		return now
	}
	quiet()
	if err := s.send(); err != nil {
		t.Fatal(err)
	}
	quiet()
	_ = in.Close()
	var o outcome
	if err := answers.Decode(&o); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	counted := counterPackets(t, w.Host.Run("nft", "list", "counter", "inet", "flood", "reported"))

	t.Logf("%d packets in %.1f s: %.0f a second (%.0f without a listener); "+
		"%d received, %d lost (%.1f %%)",
		sent, took.Seconds(), float64(sent)/took.Seconds(), float64(alone)/aloneTook.Seconds(),
		o.Received, o.Lost, 100*float64(o.Lost)/float64(counted))
	t.Logf("listener: %v of processor time, %.1f %% of a core, %v a packet received; "+
		"%d events; at most %d sources in one; "+
		"heap %d KiB, %d KiB from the system, %d KiB resident at most",
		o.CPU.Round(time.Millisecond), 100*o.CPU.Seconds()/took.Seconds(),
		o.CPU/time.Duration(max(o.Received, 1)), o.Events, o.Sources,
		o.Heap>>10, o.Address>>10, o.Resident)

	if o.Received == 0 || o.Received+o.Lost != counted || counted > uint64(sent)+1 {
		t.Errorf("%d received and %d lost are not the %d that the kernel reported, of %d sent",
			o.Received, o.Lost, counted, sent)
	}
	if o.Denied+o.LossesReported != counted || o.LossesReported != o.Lost {
		t.Errorf("events of %d refused and %d lost packets, of %d",
			o.Denied, o.LossesReported, counted)
	}
	windows := int(took/floodWindow) + 5 // includes the time after the flood
	if o.Events > windows*(defaultLimits.events()+1) {
		t.Errorf("%d events in %d windows", o.Events, windows)
	}
	const heapBound = 24 << 20 // the tables and the queue, twice because garbage is collected later
	if o.Heap > heapBound {
		t.Errorf("the heap grew to %d KiB", o.Heap>>10)
	}
}

// BenchmarkTake measures one report from its datagram to the aggregator, without the kernel.
func BenchmarkTake(b *testing.B) {
	for name, sources := range map[string]int{"one source": 1, "many sources": 1 << 16} {
		b.Run(name, func(b *testing.B) {
			l := newOfflineListener(defaultLimits)
			l.outlet.queue = nil // events are counted as lost
			datagrams := make([][]byte, 0, max(1, sources/batch))
			for i := range cap(datagrams) {
				var d []byte
				for j := range batch {
					p := ipv4(17, 0, 0, ports...)
					binary.BigEndian.PutUint32(p[12:], uint32((i*batch+j)%sources))
					d = append(d, encodeReport("portgrave:denied:prometheus", uint32(j), p)...)
				}
				datagrams = append(datagrams, d)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				l.nextSequence = 0
				l.take(epoch, datagrams[i%len(datagrams)])
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/packet")
		})
	}
}
