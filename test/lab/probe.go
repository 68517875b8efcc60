package lab

import (
	"net/netip"
	"time"
)

// probeRate is the packets a second of a Probe unless Rate says otherwise: what two cores keep up
// with, so that nothing is lost to a full queue.
const probeRate = 50000

// Probe asks a port from each of many spoofed sources and says what became of each: Open, Refused
// or another refusal, or Dropped. A source that is not answered is asked again, Attempts times in
// all. The answers must be routed back to the node, as they are to Internet for every source that no other node holds.
func (w *World) Probe(from *Node, sources []netip.Addr, to netip.AddrPort, opts ...Option) map[netip.Addr]Answer {
	w.t.Helper()
	o := options(opts)
	if o.rate == 0 {
		o.rate = probeRate
	}
	w.PinNeighbours()
	answers := make(map[netip.Addr]Answer, len(sources))
	p, err := from.newProber(sources, to, o)
	if err != nil {
		w.t.Fatalf("probing %v from %s: %v", to, from.Name, err)
		return answers
	}
	defer p.finish()
	for _, s := range sources {
		answers[s] = Dropped
	}
	for range o.attempts {
		first, port, pace := p.count.Load(), nextPort(), newPace(o.rate)
		for i, s := range sources {
			if answers[s] != Dropped {
				continue
			}
			pace.wait()
			if ok, err := p.send(i, port); !ok {
				w.t.Fatalf("probing %v from %s, source %v: %v", to, from.Name, s, err)
				return answers
			}
		}
		p.settleRound(first)
		for n := first; n < p.count.Load(); n++ {
			r := p.record(n)
			if a := Answer(r.answer.Load()); a != Dropped {
				answers[sources[r.source.Load()]] = a
			}
		}
	}
	return answers
}

// settle is how long no answer must have come for none to be on its way.
const settle = 100 * time.Millisecond

// settleRound waits until every probe from the given one on is answered, or no more answers come.
func (p *prober) settleRound(first uint32) {
	begin := time.Now()
	for {
		now := time.Now()
		quiet := min(now.Sub(begin), now.Sub(p.start)-time.Duration(p.last.Load()))
		if quiet > settle || p.allAnswered(first) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (p *prober) allAnswered(first uint32) bool {
	for n := first; n < p.count.Load(); n++ {
		if Answer(p.record(n).answer.Load()) == Dropped {
			return false
		}
	}
	return true
}
