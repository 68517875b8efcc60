package lab

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// defaultStreamRate is the packets a second of a Stream, so that one probe falls into 50 µs.
const defaultStreamRate = 20000

// Stream probes a list of sources in turn, continuously, until it is stopped. It sends each probe
// once and records its time. So it finds a gap in which an allowed source was refused, and a moment
// in which a denied source got in. Use one stream for allowed sources and another for denied ones.
type Stream struct {
	t       TB
	prober  *prober
	rounds  atomic.Int64
	cancel  context.CancelFunc
	sender  sync.WaitGroup
	endOnce sync.Once
	report  Report
	err     error
}

// Report is the result of a Stream.
type Report struct {
	Begin, End time.Time
	// Sources has an entry for every source, in the order given to Stream.
	Sources []SourceReport
	// Sent counts the probes. Each is one of Open, Refused (any refusal) or Unanswered.
	Sent, Open, Refused, Unanswered int
	// LongestGap is the longest time in which no probe of any source found the port open.
	LongestGap time.Duration
	// Lost counts frames that this process was too slow to receive. If it is not 0, that many
	// unanswered probes may have been answered.
	Lost int
}

// SourceReport is the result of a Stream for one source.
type SourceReport struct {
	Source                          netip.Addr
	Sent, Open, Refused, Unanswered int
	// LongestGap is the longest time from a probe that did not find the port open to the next that
	// did, or to the end. It is 0 if every probe found it open.
	LongestGap time.Duration
	// FirstOpen is when the first probe that found the port open was sent; zero if none did.
	FirstOpen time.Time
}

// Stream starts to probe from a node. Sources, target and options are as for Probe. It stops when
// the world ends.
func (w *World) Stream(
	from *Node,
	sources []netip.Addr,
	to netip.AddrPort,
	opts ...Option,
) *Stream {
	w.t.Helper()
	w.PinNeighbours()
	return from.stream(sources, to, opts)
}

func (n *Node) stream(sources []netip.Addr, to netip.AddrPort, opts []Option) *Stream {
	n.t.Helper()
	o := options(opts)
	if o.rate == 0 {
		o.rate = defaultStreamRate
	}
	p, err := n.newProber(questionsFor(sources, to, o.protocol), o)
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

// WaitRounds waits until every source was probed n more times from now on, so that there are probes
// before and after a change. It reports an error after ten seconds without a round.
func (s *Stream) WaitRounds(n int) {
	s.t.Helper()
	// The current round began before now.
	for want := s.rounds.Load() + int64(n) + 1; s.rounds.Load() < want; {
		seen := s.rounds.Load()
		if !waitUntil(10*time.Second, func() bool { return s.rounds.Load() > seen }) {
			s.t.Errorf("a stream of probes stands still after %d rounds", seen)
			return
		}
	}
}

// Sent returns how many probes were sent so far.
func (s *Stream) Sent() int { return int(s.prober.count.Load()) }

// Answered returns how many probes were answered so far.
func (s *Stream) Answered() int { return int(s.prober.answered.Load()) }

// Stop ends the stream, waits for outstanding answers, and returns the report.
func (s *Stream) Stop() Report {
	s.t.Helper()
	s.end()
	if s.err != nil {
		s.t.Errorf("a stream of probes ended early: %v", s.err)
	}
	return s.report
}

func (s *Stream) end() {
	s.endOnce.Do(func() {
		s.cancel()
		s.sender.Wait()
		end := time.Now()
		count := s.prober.count.Load()
		s.prober.settleRound(count - min(count, uint32(s.prober.rate/10)))
		s.prober.finish()
		s.report = s.prober.summarize(end)
	})
}

// summarize makes a report of the records.
func (p *prober) summarize(end time.Time) Report {
	r := Report{Begin: p.start, End: end, Lost: int(p.lost),
		Sources: make([]SourceReport, len(p.questions))}
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
		each[i].observe(at, answer == Open)
		all.observe(at, answer == Open)
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

func (g *gap) observe(at time.Duration, ok bool) {
	switch {
	case !ok && !g.within:
		g.began, g.within = at, true
	case ok && g.within:
		g.longest, g.within = max(g.longest, at-g.began), false
	}
}

func (g *gap) end(at time.Duration) time.Duration {
	g.observe(at, true)
	return g.longest
}
