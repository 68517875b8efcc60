package nft

import (
	"context"
	"fmt"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/nfnetlink"
	"golang.org/x/sys/unix"
)

var _ firewall.Filling = (*Backend)(nil)

// Fill implements firewall.Filling. Linux 6.16 and newer count the elements of a set; before, they are
// listed.
func (b *Backend) Fill(ctx context.Context, services []string) ([]firewall.TableFill, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var r *ruleset
	_, err := nfnetlink.OneGeneration(b.kernel, readAttempts, func(uint32) (err error) {
		r, err = b.kernel.dynamic()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("table inet %s: %w", tableName, err)
	}
	return r.fill(services), nil
}

// fill says how full the sets are that packets fill.
func (r *ruleset) fill(services []string) (out []firewall.TableFill) {
	for _, f := range firewall.Families {
		name := map[firewall.Family]string{firewall.IPv4: logSet4, firewall.IPv6: logSet6}[f]
		if s := r.sets[name]; s != nil {
			out = append(out, firewall.TableFill{Family: f, Sources: int(s.count), Room: int(s.spec.size),
				Turned: r.counters[counterName(name, "full", f)].Packets})
		}
		for _, service := range services {
			if s := r.sets[rateSet(service, f)]; s != nil {
				out = append(out, firewall.TableFill{Service: service, Family: f, Sources: int(s.count), Room: int(s.spec.size),
					Turned: r.counters[counterName(serviceChain(service), "full", f)].Packets})
			}
		}
	}
	return out
}

// dynamic reads the sets that packets fill, with how many elements they have, and the counters.
func (k *netlinkKernel) dynamic() (*ruleset, error) {
	r, err := k.counters()
	if err != nil || !r.present {
		return r, err
	}
	if err := k.readSets(r); err != nil {
		return nil, err
	}
	for _, s := range r.sets {
		if s.kind != kindDynamic || s.counted {
			continue
		}
		if s.count, err = k.countElements(s.name); err != nil {
			return nil, fmt.Errorf("elements of set %s: %w", s.name, err)
		}
	}
	return r, nil
}

// countElements lists a set's elements and forgets them.
func (k *netlinkKernel) countElements(set string) (n uint32, err error) {
	err = k.socket.request(unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, func(e *encoder) {
		e.str(unix.NFTA_SET_ELEM_LIST_TABLE, tableName)
		e.str(unix.NFTA_SET_ELEM_LIST_SET, set)
	}, func(b []byte) error {
		return eachAttr(b, func(kind uint16, data []byte) error {
			if kind != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				return nil
			}
			return eachAttr(data, func(uint16, []byte) error {
				n++
				return nil
			})
		})
	})
	return n, err
}
