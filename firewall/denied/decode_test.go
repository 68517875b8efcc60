package denied

import (
	"encoding/binary"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// ipv4 and ipv6 return the beginning of a packet.
func ipv4(protocol uint8, fragment uint16, options int, rest ...byte) []byte {
	b := make([]byte, 20+options)
	b[0], b[9] = 0x40|byte(len(b)/4), protocol
	binary.BigEndian.PutUint16(b[6:], fragment)
	copy(b[12:], []byte{203, 0, 113, 9})
	copy(b[16:], []byte{192, 0, 2, 10})
	return append(b, rest...)
}

func ipv6(next uint8, rest ...byte) []byte {
	b := make([]byte, 40)
	b[0], b[6] = 0x60, next
	copy(b[8:], netip.MustParseAddr("2001:db8::9").AsSlice())
	copy(b[24:], netip.MustParseAddr("2001:db8::10").AsSlice())
	return append(b, rest...)
}

// ports is the beginning of a TCP, UDP or SCTP header: from port 40000 to 9090.
var ports = []byte{0x9c, 0x40, 0x23, 0x82, 0, 0, 0, 0}

func TestDecodeHeaders(t *testing.T) {
	extension := func(next uint8, words ...byte) []byte {
		return append([]byte{next, 0, 0, 0, 0, 0, 0, 0}, words...)
	}
	for name, tt := range map[string]struct {
		packet           []byte
		ok               bool
		protocol         uint8
		sourcePort, port uint16
	}{
		"nothing":                       {nil, false, 0, 0, 0},
		"not IP":                        {[]byte{0x10, 0, 0, 0}, false, 0, 0, 0},
		"IPv4 cut":                      {ipv4(6, 0, 0)[:19], false, 0, 0, 0},
		"IPv4 with a length of nothing": {append([]byte{0x40}, ipv4(6, 0, 0)[1:]...), false, 0, 0, 0},
		"IPv4 TCP":                      {ipv4(6, 0, 0, ports...), true, 6, 40000, 9090},
		"IPv4 UDP with options":         {ipv4(17, 0, 40, ports...), true, 17, 40000, 9090},
		"IPv4 SCTP":                     {ipv4(132, 0, 0, ports...), true, 132, 40000, 9090},
		"IPv4 without its options":      {ipv4(6, 0, 40, ports...)[:30], true, 6, 0, 0},
		"IPv4 without its ports":        {ipv4(6, 0, 0, ports[:3]...), true, 6, 0, 0},
		"IPv4 first fragment":           {ipv4(17, 0x2000, 0, ports...), true, 17, 40000, 9090},
		"IPv4 later fragment":           {ipv4(17, 0x2001, 0, ports...), true, 17, 0, 0},
		"IPv4 echo request":             {ipv4(1, 0, 0, 8, 0, 1, 2), true, 1, 0, 8 << 8},
		"IPv4 GRE":                      {ipv4(47, 0, 0, ports...), true, 47, 0, 0},
		"IPv6 cut":                      {ipv6(6)[:39], false, 0, 0, 0},
		"IPv6 TCP":                      {ipv6(6, ports...), true, 6, 40000, 9090},
		"IPv6 neighbour solicitation":   {ipv6(58, 135, 0), true, 58, 0, 135 << 8},
		"IPv6 extensions":               {ipv6(0, append(extension(43), append(extension(60), append(extension(17), ports...)...)...)...), true, 17, 40000, 9090},
		"IPv6 authentication":           {ipv6(51, append([]byte{6, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, ports...)...), true, 6, 40000, 9090},
		"IPv6 first fragment":           {ipv6(44, append([]byte{6, 0, 0, 1, 0, 0, 0, 0}, ports...)...), true, 6, 40000, 9090},
		"IPv6 later fragment":           {ipv6(44, append([]byte{6, 0, 0, 8, 0, 0, 0, 0}, ports...)...), true, 6, 0, 0},
		"IPv6 extension cut":            {ipv6(60, 6, 1, 0, 0, 0, 0, 0, 0), true, 60, 0, 0},
		"IPv6 no next header":           {ipv6(59, ports...), true, 59, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h, ok := decodeHeaders(tt.packet)
			if ok != tt.ok || h.protocol != tt.protocol || h.sourcePort != tt.sourcePort ||
				h.port != tt.port {
				t.Errorf("got %+v, %v", h, ok)
			}
			if ok &&
				(!h.source.IsValid() || !h.destination.IsValid() || h.source == h.destination) {
				t.Errorf("addresses: %v → %v", h.source, h.destination)
			}
		})
	}
}

// encodeReport returns a report as the kernel sends it.
func encodeReport(prefix string, seq uint32, payload []byte) []byte {
	b := []byte{unix.AF_INET, 0, 0x23, 0x82}
	b = netlink.AppendBytes(b, 1, []byte{8, 0, 0, 0}) // NFULA_PACKET_HDR
	b = netlink.AppendBytes(b, attrPrefix, append([]byte(prefix), 0))
	b = netlink.AppendBytes(b, attrIndev, []byte{0, 0, 0, 2})
	b = netlink.AppendBytes(b, attrTimestamp,
		binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(epoch.Unix())),
			250_000))
	b = netlink.AppendBytes(b, attrPayload, payload)
	b = netlink.AppendBytes(b, attrSeq, binary.BigEndian.AppendUint32(nil, seq))
	head := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(b)))
	head = binary.NativeEndian.AppendUint16(head, unix.NFNL_SUBSYS_ULOG<<8|messagePacket)
	return append(append(head, make([]byte, 10)...), append(b, make([]byte, -len(b)&3)...)...)
}

// newOfflineListener returns a Listener without a kernel, whose events stay in the outlet's queue.
func newOfflineListener(sizes limits) *Listener {
	l := &Listener{
		interfaces: interfaces{lookUp: func(uint32) (string, error) { return "eth0", nil }},
		outlet:     newOutlet(sizes.events(), sizes.window),
	}
	l.aggregator = newAggregator(sizes, l.outlet.put)
	return l
}

func (o *outlet) queued() (all []Event) {
	for len(o.queue) > 0 {
		all = append(all, <-o.queue)
	}
	return all
}

func TestReportsAndGaps(t *testing.T) {
	l := newOfflineListener(defaultLimits)
	// 0, 1 and 2 were lost.
	datagram := encodeReport("portgrave:denied:prometheus", 3, ipv4(6, 0, 0, ports...))
	datagram = append(datagram, encodeReport("somebody else's", 4, ipv4(6, 0, 0, ports...))...)
	l.take(epoch, datagram)
	l.take(epoch, encodeReport("portgrave:allowed:a", 6, ipv6(17, ports...))) // 5 was lost
	l.take(epoch, encodeReport("portgrave:denied:b", 7, nil))
	if got, want := l.Stats(), (Stats{Received: 4, Foreign: 1, Lost: 4}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	var lines []string
	for _, e := range l.outlet.queued() {
		line, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(line))
	}
	want := []string{
		`{"time":"2026-01-02T03:04:05.25Z","last":"2026-01-02T03:04:05.25Z","action":"denied","service":"prometheus","protocol":"tcp","source":"203.0.113.9","source_port":40000,"destination":"192.0.2.10","port":9090,"interface":"eth0","count":1}`,
		`{"time":"2026-01-02T03:04:05.25Z","last":"2026-01-02T03:04:05.25Z","action":"allowed","service":"a","protocol":"udp","source":"2001:db8::9","source_port":40000,"destination":"2001:db8::10","port":9090,"interface":"eth0","count":1}`,
		`{"time":"2026-01-02T03:04:05.25Z","last":"2026-01-02T03:04:05.25Z","action":"denied","service":"b","interface":"eth0","count":1}`,
	}
	if got := strings.Join(lines, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s", got)
	}
}

// An unreadable message leaves a gap in the sequence, so the next message counts it as lost.
func TestUnreadableReportsAreLost(t *testing.T) {
	l := newOfflineListener(defaultLimits)
	l.take(epoch, encodeReport("portgrave:denied:a", 0, ipv4(6, 0, 0, ports...)))
	damaged := encodeReport("portgrave:denied:a", 1, ipv4(6, 0, 0, ports...))
	binary.NativeEndian.PutUint16(damaged[unix.NLMSG_HDRLEN+netlink.NetfilterHeader:], 0xffff)
	l.take(epoch, damaged)
	cut := encodeReport("portgrave:denied:a", 2, ipv4(6, 0, 0, ports...))
	l.take(epoch, cut[:len(cut)-8])
	l.take(epoch, encodeReport("portgrave:denied:a", 3, ipv4(6, 0, 0, ports...)))
	if got, want := l.Stats(), (Stats{Received: 2, Lost: 2}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	l.take(epoch, encodeReport("portgrave:denied:a", 4, nil)[:10])
	l.nextSequence = 0xffffffff // sequence numbers wrap around
	l.take(epoch, encodeReport("portgrave:denied:a", 0xffffffff, nil))
	l.take(epoch, encodeReport("portgrave:denied:a", 0, nil))
	if got := l.Stats().Lost; got != 2 {
		t.Errorf("%d lost where the numbers wrap around, want 2 still", got)
	}
}

func TestNothingIsAllocatedPerPacket(t *testing.T) {
	l := newOfflineListener(defaultLimits)
	var datagram []byte
	seq := uint32(0)
	for i := range 100 {
		p := ipv4(6, 0, 0, ports...)
		p[15] = byte(i) // more sources than the limits
		datagram = append(datagram, encodeReport("portgrave:denied:prometheus", seq, p)...)
		seq++
	}
	l.take(epoch, datagram)
	if n := testing.AllocsPerRun(100, func() {
		l.nextSequence = 0
		l.take(epoch, datagram)
	}); n != 0 {
		t.Errorf("%v allocations for 100 packets", n)
	}
}

func TestInvalidTimestamps(t *testing.T) {
	for _, sec := range []uint64{0, 1 << 63, 253402300800} {
		if got := timestamp(sec, 0); !got.IsZero() {
			t.Errorf("%d: %v", sec, got)
		}
	}
	if got := timestamp(1, 999_999); !got.Equal(time.Unix(1, 999_999_000)) {
		t.Error(got)
	}
}

func TestFullNames(t *testing.T) {
	long := strings.Repeat("x", 48)
	l := &labels{}
	cut := []byte(firewall.ShortLogPrefix(firewall.LogPrefixDenied, long))
	if len(cut) != 63 {
		t.Fatalf("a prefix of %d bytes", len(cut))
	}
	if got := l.find(cut); got.service == long || got.action != Denied {
		t.Errorf("before the names are known: %+v", got)
	}
	l.fullNames.Store(fullNames([]string{"short", long}))
	if got := l.find(cut); got.service != long {
		t.Errorf("%+v", got)
	}
	if got := l.find([]byte("portgrave:denied:" + long)); got.service != long {
		t.Errorf("a prefix of nftables, which has room: %+v", got)
	}
	for i := range 3 * maxLabels {
		l.find(binary.BigEndian.AppendUint32([]byte("portgrave:denied:"), uint32(i)))
	}
	if len(l.known) > maxLabels+1 {
		t.Errorf("%d labels are remembered", len(l.known))
	}
}

// smallLimits are easy to exceed. The queue has room for the events of one window.
var smallLimits = limits{
	window: 10 * second, keys: 4, sourcesPerService: 3, sourcesPerPort: 2,
	ports: 3, portsPerService: 2, services: 1,
}

// FuzzTake checks that no datagram does harm, and that the counts add up.
func FuzzTake(f *testing.F) {
	f.Add(encodeReport("portgrave:denied:prometheus", 0, ipv4(6, 0, 0, ports...)))
	f.Add(append(encodeReport("portgrave:allowed:a", 0, ipv6(0, 6, 0, 0, 0, 0, 0, 0, 0)),
		encodeReport("x", 5, ipv4(1, 0, 4, 8, 0))...))
	f.Fuzz(func(t *testing.T, datagram []byte) {
		l := newOfflineListener(smallLimits)
		l.take(epoch, datagram)
		l.aggregator.flush()
		in := l.Stats()
		out := uint64(0)
		for _, e := range l.outlet.queued() {
			out += e.Count
			for _, write := range []func(Event) error{JSON(discardLine{t}), CEF(discardLine{t}, "1", "")} {
				if err := write(e); err != nil {
					t.Fatal(err)
				}
			}
		}
		if out != in.Received-in.Foreign {
			t.Errorf("%d packets in events, of %+v", out, in)
		}
	})
}

// FuzzHeaders parses packets alone, where the fuzzer gets further.
func FuzzHeaders(f *testing.F) {
	f.Add(ipv4(6, 0, 0, ports...))
	f.Add(ipv6(0, 60, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, ok := decodeHeaders(b)
		if ok != h.source.IsValid() || ok != h.destination.IsValid() || !ok && h != (headers{}) {
			t.Errorf("%v: %+v", ok, h)
		}
	})
}

// discardLine fails unless each Write is exactly one line.
type discardLine struct{ t *testing.T }

func (d discardLine) Write(b []byte) (int, error) {
	if n := strings.Count(string(b), "\n"); n != 1 || b[len(b)-1] != '\n' {
		d.t.Errorf("%d lines: %q", n, b)
	}
	return len(b), nil
}
