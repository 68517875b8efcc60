package nft

import (
	"context"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

var _ firewall.Filling = (*Backend)(nil)

// Fill implements firewall.Filling. Linux 6.16 and newer count the elements of a set. Before,
// nobody does, and listing a million of them takes a minute: the sources are unknown then.
func (b *Backend) Fill(ctx context.Context, services []string) ([]firewall.TableFill, error) {
	r, err := b.settled(ctx, b.kernel.dynamic)
	if err != nil {
		return nil, err
	}
	return r.fill(services), nil
}

// fill says how full the sets are that packets fill.
func (r *ruleset) fill(services []string) (out []firewall.TableFill) {
	for _, f := range address.Families {
		name := logSet(f)
		if s := r.sets[name]; s != nil {
			out = append(
				out,
				firewall.TableFill{Family: f, Sources: s.sources(), Room: int(s.spec.Size),
					Turned: r.counters[counterName(name, "full", f)].Packets},
			)
		}
		for _, service := range services {
			if s := r.sets[rateSet(service, f)]; s != nil {
				out = append(
					out,
					firewall.TableFill{
						Service: service,
						Family:  f,
						Sources: s.sources(),
						Room:    int(s.spec.Size),
						Turned:  r.counters[counterName(serviceChain(service), "full", f)].Packets,
					},
				)
			}
		}
	}
	return out
}

// sources is how many sources a set remembers; firewall.SourcesUnknown if the kernel does not
// count.
func (s *set) sources() int {
	if !s.counted {
		return firewall.SourcesUnknown
	}
	return int(s.count)
}
