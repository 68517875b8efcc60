package denied

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var sample = Event{Time: epoch, Last: epoch.Add(2 * second), Action: Denied, Service: "prometheus",
	Protocol: "tcp", Source: netip.MustParseAddr("203.0.113.9"), SourcePort: 40000,
	Destination: netip.MustParseAddr("192.0.2.10"), Port: 9090, Interface: "eth0", Count: 3}

func floodEvent() Event {
	return Event{Time: epoch, Last: epoch.Add(2 * second), Action: Denied, Service: "prometheus",
		Protocol: "udp", Destination: netip.MustParseAddr("2001:db8::10"), Port: 9090,
		Count: 70000, Sources: 12345,
		Examples: []netip.Addr{netip.MustParseAddr("203.0.113.9"),
			netip.MustParseAddr("2001:db8::9")}}
}

func writeOne(t *testing.T, make func(*bytes.Buffer) func(Event) error, e Event) string {
	t.Helper()
	var b bytes.Buffer
	if err := make(&b)(e); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestJSON(t *testing.T) {
	for want, e := range map[string]Event{
		`{"time":"2026-01-02T03:04:05Z","last":"2026-01-02T03:04:07Z","action":"denied","service":"prometheus","protocol":"udp","destination":"2001:db8::10","port":9090,"count":70000,"sources":12345,"examples":["203.0.113.9","2001:db8::9"]}`: floodEvent(),
		`{"time":"2026-01-02T03:04:05Z","last":"2026-01-02T03:04:05Z","action":"denied","service":"unlisted","protocol":"icmp","icmp":{"type":8,"code":0},"count":1}`:                                                                             {Time: epoch, Last: epoch, Action: Denied, Service: "unlisted", Protocol: "icmp", ICMP: &ICMP{Type: 8}, Count: 1},
		`{"time":"2026-01-02T03:04:05Z","last":"2026-01-02T03:04:05Z","action":"lost","count":9}`:                                                                                                                                                 {Time: epoch, Last: epoch, Action: Lost, Count: 9},
	} {
		if got := writeOne(t, func(b *bytes.Buffer) func(Event) error { return JSON(b) },
			e); got != want+"\n" {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
}

func TestCEF(t *testing.T) {
	special := sample
	special.Service, special.Interface = "a=b|c\\d\ne\rf", `x\=`
	ping := Event{Time: epoch, Last: epoch, Action: Denied, Service: "unlisted", Protocol: "icmpv6",
		Source: netip.MustParseAddr("2001:db8::9"), ICMP: &ICMP{Type: 128}, Count: 1}
	for want, e := range map[string]Event{
		`CEF:0|Portgrave|portgrave|1.2\|\\ 3|denied|packets refused|3|rt=1767323047000 start=1767323045000 end=1767323047000 dvchost=h\=1 act=denied cnt=3 deviceDirection=0 src=203.0.113.9 spt=40000 dst=192.0.2.10 dpt=9090 proto=TCP deviceInboundInterface=eth0 cs1Label=service cs1=prometheus`:                                                                                    sample,
		`CEF:0|Portgrave|portgrave|1.2\|\\ 3|denied|packets refused|3|rt=1767323047000 start=1767323045000 end=1767323047000 dvchost=h\=1 act=denied cnt=3 deviceDirection=0 src=203.0.113.9 spt=40000 dst=192.0.2.10 dpt=9090 proto=TCP deviceInboundInterface=x\\\= cs1Label=service cs1=a\=b|c\\d\ne\rf`:                                                                              special,
		`CEF:0|Portgrave|portgrave|1.2\|\\ 3|flood|packets of many sources refused|5|rt=1767323047000 start=1767323045000 end=1767323047000 dvchost=h\=1 act=denied cnt=70000 deviceDirection=0 c6a3Label=Destination IPv6 Address c6a3=2001:db8::10 dpt=9090 proto=UDP cs1Label=service cs1=prometheus cs2Label=example sources cs2=203.0.113.9,2001:db8::9 cn1Label=sources cn1=12345`: floodEvent(),
		`CEF:0|Portgrave|portgrave|1.2\|\\ 3|denied|packet refused|3|rt=1767323045000 start=1767323045000 end=1767323045000 dvchost=h\=1 act=denied cnt=1 deviceDirection=0 c6a2Label=Source IPv6 Address c6a2=2001:db8::9 proto=ICMPV6 cs1Label=service cs1=unlisted cn2Label=icmp type cn2=128 cn3Label=icmp code cn3=0`:                                                               ping,
		`CEF:0|Portgrave|portgrave|1.2\|\\ 3|lost|packets were not reported|5|rt=1767323045000 start=1767323045000 end=1767323045000 dvchost=h\=1 act=lost cnt=9`:                                                                                                                                                                                                                        {Time: epoch, Last: epoch, Action: Lost, Count: 9},
	} {
		if got := writeOne(t,
			func(b *bytes.Buffer) func(Event) error { return CEF(b, "1.2|\\\n3", "h=1") },
			e); got != want+"\n" {
			t.Errorf("got\n%swant\n%s", got, want)
		}
	}
}

func TestSlog(t *testing.T) {
	logger := func(b *bytes.Buffer, level slog.Level) *slog.Logger {
		return slog.New(slog.NewTextHandler(b,
			&slog.HandlerOptions{Level: level,
				ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
					if len(groups) == 0 && a.Key == slog.TimeKey {
						return slog.Attr{}
					}
					return a
				}}))
	}
	single := sample
	single.Count, single.Last = 1, single.Time
	for want, e := range map[string]Event{
		`level=WARN msg="packet refused" action=denied service=prometheus protocol=tcp source=203.0.113.9 source_port=40000 destination=192.0.2.10 port=9090 interface=eth0 count=1`:                                                                                single,
		`level=WARN msg="packets of many sources refused" action=denied service=prometheus protocol=udp destination=2001:db8::10 port=9090 count=70000 sources=12345 examples=203.0.113.9,2001:db8::9 first=2026-01-02T03:04:05.000Z last=2026-01-02T03:04:07.000Z`: floodEvent(),
		`level=WARN msg="connection accepted" action=allowed protocol=icmp icmp.type=8 icmp.code=0 count=1`:                                                                                                                                                         {Time: epoch, Last: epoch, Action: Allowed, Protocol: "icmp", ICMP: &ICMP{Type: 8}, Count: 1},
	} {
		if got := writeOne(t,
			func(b *bytes.Buffer) func(Event) error {
				return Slog(logger(b, slog.LevelInfo), slog.LevelWarn)
			}, e); got != want+"\n" {
			t.Errorf("got\n%swant\n%s", got, want)
		}
	}
	if got := writeOne(t,
		func(b *bytes.Buffer) func(Event) error {
			return Slog(logger(b, slog.LevelError), slog.LevelWarn)
		}, sample); got != "" {
		t.Errorf("logged below the level: %s", got)
	}
}

// A writer that blocks stalls nothing else. Events that don't fit the queue are lost and reported
// later.
func TestBlockedWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutlet(4, 10*second)
		goOn := make(chan struct{})
		var events []Event
		done := make(chan struct{})
		go func() {
			defer close(done)
			o.run(func(e Event) error {
				<-goOn
				events = append(events, e)
				return nil
			})
		}()
		for range 10 {
			o.put(Event{Action: Denied, Count: 2})
			synctest.Wait()
		}
		if got := o.lost.Load(); got != 10 { // one in hand, four queued, five lost
			t.Errorf("%d packets lost, want 10", got)
		}
		close(goOn)
		time.Sleep(11 * second)
		synctest.Wait()
		if n := len(events); n != 6 || events[5].Action != Lost || events[5].Count != 10 ||
			events[5].Last.Sub(events[5].Time) != 10*second {
			t.Errorf("%+v", events)
		}
		close(o.queue)
		<-done
		if len(events) != 6 {
			t.Errorf("losses were said twice: %+v", events[6:])
		}
	})
}

// An event that a writer refuses is lost. A loss report that it refuses is repeated.
func TestFailingWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutlet(100, 10*second)
		var broken atomic.Bool
		broken.Store(true)
		var actions []string
		done := make(chan struct{})
		go func() {
			defer close(done)
			o.run(func(e Event) error {
				if broken.Load() {
					return errors.New("no space left on device")
				}
				actions = append(actions, string(e.Action))
				return nil
			})
		}()
		o.put(Event{Action: Denied, Count: 3})
		time.Sleep(35 * second)
		broken.Store(false)
		o.put(Event{Action: Denied, Count: 1})
		time.Sleep(11 * second)
		close(o.queue)
		<-done
		if got := strings.Join(actions, " "); got != "denied lost" || o.lost.Load() != 3 ||
			o.unreported.Load() != 0 {
			t.Errorf("%s; %d lost, %d unsaid", got, o.lost.Load(), o.unreported.Load())
		}
	})
}
