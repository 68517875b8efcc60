package exposure

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/portgrave/portgrave/firewall/address"
)

// Replies is the outcome of the answers to a packet.
type Replies struct {
	// Interface is where they leave; "" if unknown, or if they don't leave.
	Interface string `json:"interface"`
	// LostTo names the rule, route or check that loses them; "" if they aren't lost.
	LostTo string `json:"lost_to"`
	// LostBy is LostTo for programs. Maybe: the answers may be lost or not, depending on Unknowns.
	LostBy   Decision   `json:"-"`
	Unknowns []Decision `json:"-"`
	Lost     Tri        `json:"-"`
}

// Target is a destination that a packet may be sent to.
type Target struct {
	// Address is "address:port", a range where there are too many to name, or "" if nothing is
	// known of it.
	Address string `json:"address"`
	// Verdict is "allow", "deny" or "unknown", for packets that are sent here.
	Verdict string `json:"verdict"`
	// Connects and Reason are filled by the caller, which knows the listeners.
	Connects bool   `json:"connects"`
	Reason   string `json:"reason"`
	// DecidedBy is what decided on packets that are sent here: what let them in, or what stopped
	// them with the verdict "deny", or what loses the answer with the reason "reply-lost".
	DecidedBy Decision `json:"decided_by"`

	At      netip.AddrPort `json:"-"` // the zero AddrPort if it isn't one
	Replies Replies        `json:"-"`
	// Forwarded: the packet leaves the host again, so none of its sockets gets it. Out is the
	// interface that it leaves by, "" if unknown. Rewritten is as in Piece.
	Forwarded bool   `json:"-"`
	Out       string `json:"-"`
	Rewritten Tri    `json:"-"`
}

// maxListed is the most targets that an explanation lists after they are judged.
const maxListed = 64

// Targets returns the destinations that one source's packet may be sent to.
func (a Answer) Targets(source netip.Addr) []Target { return a.targets(Address(source)) }

// CutTargets shortens the list of targets to maxListed. The caller judges the targets before, since
// those cut count too.
func (x *Explanation) CutTargets() {
	if n := len(x.Targets); n > maxListed {
		x.Assumed = append(
			x.Assumed, fmt.Sprintf("there are %d targets; %d of them are listed", n, maxListed),
		)
		x.Targets = x.Targets[:maxListed]
	}
}

// targets are the destinations that one source's packet may be sent to, in the order of the pieces.
func (a Answer) targets(source Value) []Target {
	var out []Target
	var outcomes [][2]bool // through, stopped
	var replies [][]*Reply
	for _, p := range a.piecesOf(source) {
		if !p.Outcome.Passes() && (!p.Translated || !p.Target.IsValid()) {
			continue // stopped before it was sent anywhere
		}
		t := Target{At: p.Target, Address: p.Within, Forwarded: p.Outcome == Forwarded, Out: p.Out}
		if p.Target.IsValid() {
			t.Address = p.Target.String()
		} else if p.Target.Port() != 0 {
			t.Address = fmt.Sprintf(":%d", p.Target.Port())
		}
		i := slices.IndexFunc(
			out,
			func(o Target) bool {
				return o.At == t.At && o.Address == t.Address &&
					(!p.Outcome.Passes() || !t.At.IsValid() || o.Forwarded == t.Forwarded)
			},
		)
		if i < 0 {
			i = len(out)
			out, outcomes, replies = append(
				out,
				t,
			), append(
				outcomes,
				[2]bool{},
			), append(
				replies,
				nil,
			)
		}
		if p.Outcome.Passes() {
			if p.Out != out[i].Out {
				out[i].Out = ""
			}
			if len(replies[i]) > 0 && p.Rewritten != out[i].Rewritten {
				out[i].Rewritten = Maybe
			} else {
				out[i].Rewritten = p.Rewritten
			}
			if outcomes[i] == ([2]bool{}) {
				out[i].DecidedBy = p.DecidedBy.Describe()
			}
			outcomes[i][0] = true
			replies[i] = append(replies[i], p.Reply)
		} else {
			outcomes[i][1] = true
			out[i].DecidedBy = p.DecidedBy.Describe()
		}
	}
	for i := range out {
		switch outcomes[i] {
		case [2]bool{true, false}:
			out[i].Verdict = "allow"
		case [2]bool{false, true}:
			out[i].Verdict = "deny"
		default:
			out[i].Verdict = "unknown"
		}
		out[i].Replies = repliesOf(replies[i], a.Question.Family, source)
	}
	return out
}

// maxUnknowns bounds the unknowns that an explanation lists for all replies together.
const maxUnknowns = 256

// repliesOf joins the outcomes of answers that may go several ways.
func repliesOf(replies []*Reply, f address.Family, client Value) Replies {
	var out Replies
	lost, sent := false, false
	seen := map[Decider]bool{}
	for _, r := range replies {
		if r == nil {
			sent = true
			continue
		}
		for _, u := range r.Unknowns {
			if seen[u] || len(seen) >= maxUnknowns {
				continue
			}
			seen[u] = true
			if d := u.Describe(); !slices.Contains(out.Unknowns, d) {
				out.Unknowns = append(out.Unknowns, d)
			}
		}
		switch {
		case r.Lost && !lost:
			lost, out.LostBy = true, r.By.Describe()
			if r.By.Reason == NoRouteBack {
				out.LostBy.Reason = "no route to " + clientText(f, client)
			}
		case r.Lost:
		case sent && out.Interface != r.Out:
			out.Interface = ""
		default:
			sent, out.Interface = true, r.Out
		}
	}
	switch {
	case lost && sent:
		out.Lost = Maybe
	case lost:
		out.Lost, out.Interface = Yes, ""
	}
	return out
}

func clientText(f address.Family, v Value) string {
	if f == address.IPv6 {
		return v.IPv6().String()
	}
	return v.IPv4().String()
}
