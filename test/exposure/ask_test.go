package exposure

import (
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/portgrave/portgrave/firewall/address"
	ex "github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/test/lab"
)

type asked struct {
	q      ex.Question
	source netip.Addr
	views  []bounds
}

// ask evaluates the questions, and draws the sources to test.
func (j *judge) ask(
	views []view,
	g *generator,
) (all []asked, probes []lab.Question, problems []string) {
	for _, f := range address.Families {
		for _, proto := range j.protocols {
			for _, dest := range []netip.Addr{host4, container4, host6, container6} {
				if dest.Is4() != (f == address.IPv4) {
					continue
				}
				for _, port := range ports {
					q := ex.Question{
						Family:      f,
						Protocol:    proto,
						Interface:   "eth0",
						Destination: dest,
						Port:        uint16(port),
					}
					var told []bounds
					var edges []ex.Ranges
					for _, v := range views {
						a, err := v.e.Evaluate(q)
						if err != nil {
							j.t.Fatal(err)
						}
						certain, possible := a.Connects(
							func(p ex.Piece) bool { return p.Outcome.Passes() },
						)
						told, edges = append(
							told,
							bounds{v.name, certain, possible, a},
						), append(
							edges,
							certain,
							possible,
						)
					}
					j.questions++
					if told[0].certain.Equal(told[0].possible) {
						j.exact++
					}
					for _, read := range told[min(2, len(told)):] {
						problem, sharp := compare(told[0], told[1], read)
						if problem != "" {
							problems = append(
								problems,
								fmt.Sprintf(
									"%v %v:%d: %s",
									q.Protocol,
									q.Destination,
									q.Port,
									problem,
								),
							)
						}
						j.read++
						if !sharp {
							j.lessExact[read.view]++
							if os.Getenv("PORTGRAVE_BLUNT") != "" {
								problems = append(
									problems,
									fmt.Sprintf(
										"%v %v:%d: %s: certain %v, possible %v, described %v, %v %s",
										q.Protocol,
										q.Destination,
										q.Port,
										read.view,
										read.certain,
										read.possible,
										told[0].certain,
										told[0].possible,
										doubts(read.answer),
									),
								)
							}
						}
					}
					if !j.lostRoutes { // which the rules alone don't show
						told = append(told, j.dumped(q)...)
					}
					for _, s := range sources(f, g, edges...) {
						all = append(all, asked{q, s, told})
						probes = append(
							probes,
							lab.Question{
								Source: s,
								To:     netip.AddrPortFrom(dest, q.Port),
								Over:   lab.Protocol(proto),
							},
						)
					}
				}
			}
		}
	}
	return all, probes, problems
}

// doubts is what kept an answer from being exact.
func doubts(a ex.Answer) string {
	out := ""
	for _, p := range a.Pieces {
		for _, u := range p.Unknowns {
			out += "\n\t" + decider(u)
		}
	}
	return out
}

func decider(d ex.Decider) string {
	if d.Rule != nil {
		return d.Rule.Where() + ": " + d.Rule.Text + " (" + d.Reason + ")"
	}
	return d.Reason
}

func sources(f address.Family, g *generator, bounds ...ex.Ranges) []netip.Addr {
	borders := map[netip.Addr]bool{}
	for a := range g.borders {
		borders[a] = true
	}
	for _, b := range bounds {
		for _, r := range b.List() {
			for _, a := range []netip.Addr{addressOf(r.From, f), addressOf(r.To, f)} {
				borders[a], borders[a.Prev()], borders[a.Next()] = true, true, true
			}
		}
	}
	for _, s := range []string{
		"1.1.1.1", "10.19.255.255", "10.21.0.0", "172.16.0.1", "192.0.2.1", "2600::7", "3000::1",
	} {
		borders[netip.MustParseAddr(s)] = true
	}
	var out []netip.Addr
	for a := range borders {
		switch {
		case !a.IsValid() || a.Is4() != (f == address.IPv4):
		case a.Is4() && near.Contains(ex.Address(a)), a.Is6() && !far.Contains(ex.Address(a)):
		default:
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}
