package lab

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// streamRate is the packets a second of a Stream: a window of 50 µs is seen by one probe.
const streamRate = 20000

// Stream probes a list of sources in turn, without pause, until it is stopped. Each probe counts for
// itself and is sent once, with its time, so that a gap in which an allowed source was refused is
// found, and so is an opening for a denied one. For the two, run two streams: one of allowed
// sources, one of denied ones.
type Stream struct {
	t      TB
	prober *prober
	rounds atomic.Int64
	cancel context.CancelFunc
	sender sync.WaitGroup
	once   sync.Once
	report Report
	err    error
}

// Report is what a Stream has seen.
type Report struct {
	Begin, End time.Time
	// Sources has an entry for every source, in the order given to Stream.
	Sources []SourceReport
	// Sent counts the probes; each is one of Open, Refused (which is any refusal) or Unanswered.
	Sent, Open, Refused, Unanswered int
	// LongestGap is the longest time in which no probe of any source found the port open.
	LongestGap time.Duration
	// Lost counts frames that this process was too slow to receive. Unless it is 0, as many
	// unanswered probes prove nothing.
	Lost int
}

// SourceReport is what a Stream has seen of one source.
type SourceReport struct {
	Source                          netip.Addr
	Sent, Open, Refused, Unanswered int
	// LongestGap is the longest time from a probe that did not find the port open to the next that
	// did, or to the end. 0: every probe did.
	LongestGap time.Duration
	// FirstOpen is when the first probe was sent that found the port open; zero if none did.
	FirstOpen time.Time
}

// Stream begins to probe from a node. Sources, target and options are as for Probe. The end of the
// world stops it.
func (w *World) Stream(from *Node, sources []netip.Addr, to netip.AddrPort, opts ...Option) *Stream {
	w.t.Helper()
	w.PinNeighbours()
	return from.stream(sources, to, opts)
}

func (n *Node) stream(sources []netip.Addr, to netip.AddrPort, opts []Option) *Stream {
	n.t.Helper()
	o := options(opts)
	if o.rate == 0 {
		o.rate = streamRate
	}
	p, err := n.newProber(ask(sources, to, o.protocol), o)
	if err != nil {
		n.t.Fatalf("streaming probes to %v from %s: %v", to, n.Name, err)
		return nil
	}
	ctx, cancel := context.WithCancel(n.ctx)
	s := &Stream{t: n.t, prober: p, cancel: cancel}
	s.sender.Add(1)
	go s.send(ctx)
	n.onClose(s.end)
	return s
}

func (s *Stream) send(ctx context.Context) {
	defer s.sender.Done()
	pace := newPace(s.prober.rate)
	for len(s.prober.questions) > 0 {
		port := nextPort()
		for i := range s.prober.questions {
			if ctx.Err() != nil {
				return
			}
			pace.wait()
			if ok, err := s.prober.send(i, port); !ok {
				s.err = err
				return
			}
		}
		s.rounds.Add(1)
	}
}

// Rounds is how often every source was probed.
func (s *Stream) Rounds() int { return int(s.rounds.Load()) }

// WaitRounds waits until every source was probed n times more, from now on: so there are probes
// before and after a change. It gives up, and says so, after ten seconds without a round.
func (s *Stream) WaitRounds(n int) {
	s.t.Helper()
	// The round that is under way began before now.
	for want := s.rounds.Load() + int64(n) + 1; s.rounds.Load() < want; {
		seen := s.rounds.Load()
		if !until(10*time.Second, func() bool { return s.rounds.Load() > seen }) {
			s.t.Errorf("a stream of probes stands still after %d rounds", seen)
			return
		}
	}
}

// Sent is how many probes were sent so far.
func (s *Stream) Sent() int { return int(s.prober.count.Load()) }

// Answered is how many probes have been answered so far, one way or the other.
func (s *Stream) Answered() int { return int(s.prober.answered.Load()) }

// Stop ends the stream, waits for the answers that are still on their way, and reports.
func (s *Stream) Stop() Report {
	s.t.Helper()
	s.end()
	if s.err != nil {
		s.t.Errorf("a stream of probes ended early: %v", s.err)
	}
	return s.report
}

func (s *Stream) end() {
	s.once.Do(func() {
		s.cancel()
		s.sender.Wait()
		end := time.Now()
		s.prober.settleRound(s.prober.count.Load() - min(s.prober.count.Load(), uint32(s.prober.rate/10)))
		s.prober.finish()
		s.report = s.prober.tally(end)
	})
}

// tally counts what the records hold.
func (p *prober) tally(end time.Time) Report {
	r := Report{Begin: p.start, End: end, Lost: int(p.lost), Sources: make([]SourceReport, len(p.questions))}
	for i, q := range p.questions {
		r.Sources[i].Source = q.source
	}
	all := &gap{}
	each := make([]gap, len(p.questions))
	for n := range p.count.Load() {
		probe := p.record(n)
		i := probe.question.Load()
		s, at := &r.Sources[i], time.Duration(probe.sent.Load())
		answer := Answer(probe.answer.Load())
		s.Sent++
		switch answer {
		case Open:
			s.Open++
			if s.FirstOpen.IsZero() {
				s.FirstOpen = p.start.Add(at)
			}
		case Dropped:
			s.Unanswered++
		default:
			s.Refused++
		}
		each[i].see(at, answer == Open)
		all.see(at, answer == Open)
	}
	length := end.Sub(p.start)
	for i := range r.Sources {
		s := &r.Sources[i]
		s.LongestGap = each[i].end(length)
		r.Sent += s.Sent
		r.Open += s.Open
		r.Refused += s.Refused
		r.Unanswered += s.Unanswered
	}
	r.LongestGap = all.end(length)
	return r
}

// gap measures the longest time without success.
type gap struct {
	began   time.Duration
	within  bool
	longest time.Duration
}

func (g *gap) see(at time.Duration, ok bool) {
	switch {
	case !ok && !g.within:
		g.began, g.within = at, true
	case ok && g.within:
		g.longest, g.within = max(g.longest, at-g.began), false
	}
}

func (g *gap) end(at time.Duration) time.Duration {
	g.see(at, true)
	return g.longest
}
