package exposure

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	ex "github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/hostview"
	"github.com/portgrave/portgrave/firewall/exposure/live"
	"github.com/portgrave/portgrave/firewall/exposure/rulesetfile"
)

// view is the loaded ruleset from one source: the generator itself, or a reader.
type view struct {
	name string
	e    *ex.Evaluator
}

// views are the views of the loaded ruleset. The first is the generator's own, the second the same
// with the order of equal priorities left open. Readers must be at most as exact as the first and
// at least as exact as the second.
func (j *judge) views(d *description) []view {
	out := []view{
		{"the description", ex.NewEvaluator(d.model(), j.host).NeighboursKnown()},
		{"the description without order", ex.NewEvaluator(anyOrder(d), j.host).NeighboursKnown()},
	}
	var rules *ex.Ruleset
	var host *ex.Host
	err := j.w.Host.Do(func() (err error) {
		if host, err = hostview.Read(context.Background()); err == nil {
			rules, err = live.Rules(context.Background(), host)
		}
		return err
	})
	if err != nil {
		j.t.Fatalf("reading seed %d from the kernel: %v", d.seed, err)
	}
	if len(rules.Missing) > 0 {
		j.t.Fatalf("seed %d: the kernel's rules are incomplete: %v", d.seed, rules.Missing)
	}
	out = append(out, view{"what the kernel says", ex.NewEvaluator(rules, host).NeighboursKnown()})
	listing := withDevices(j, d, j.w.Host.Run("nft", "-j", "list", "ruleset"))
	// Rules of iptables-nft have no options here, so nearly all is unknown, which is slow.
	if !d.legacy() || j.xt == "nft" && d.seed%8 == 0 {
		out = append(
			out,
			j.files(d, host, rulesetfile.File{Name: "nft.json", Text: strings.NewReader(listing)}),
		)
	}
	if !d.legacy() {
		text := j.w.Host.Run("nft", "list", "ruleset")
		out = append(
			out,
			j.files(d, host, rulesetfile.File{Name: "nft.txt", Text: strings.NewReader(text)}),
		)
	}
	if d.legacy() {
		own := listing
		if j.xt == "nft" {
			own = withoutCompat(j, listing)
		}
		out = append(out, j.files(
			d,
			host,
			rulesetfile.File{Name: "nft.json", Text: strings.NewReader(own)},
			rulesetfile.File{
				Name:   "rules.v4",
				Family: ex.FamilyIPv4,
				Text:   strings.NewReader(j.w.Host.Run("iptables-" + j.xt + "-save")),
			},
			rulesetfile.File{
				Name:   "rules.v6",
				Family: ex.FamilyIPv6,
				Text:   strings.NewReader(j.w.Host.Run("ip6tables-" + j.xt + "-save")),
			},
			rulesetfile.File{
				Name: "ipsets",
				Text: strings.NewReader(j.w.Host.Run("ipset", "save")),
			},
		))
	}
	return out
}

func (j *judge) files(d *description, host *ex.Host, files ...rulesetfile.File) view {
	var names []string
	files = slices.DeleteFunc(files, func(f rulesetfile.File) bool {
		r, ok := f.Text.(*strings.Reader)
		return ok && r.Len() == 0 // without ipsets
	})
	for _, f := range files {
		names = append(names, f.Name)
	}
	rules, err := rulesetfile.Load(files...)
	if err != nil {
		j.t.Fatalf("reading seed %d from files: %v", d.seed, err)
	}
	return view{strings.Join(names, ", "), ex.NewEvaluator(rules, host).NeighboursKnown()}
}

// withDevices adds the devices of ingress chains, which nft prints since 1.0.7.
func withDevices(j *judge, d *description, listing string) string {
	return edit(j, listing, func(kind string, x map[string]any) bool {
		for _, t := range d.tables {
			for _, c := range t.chains {
				if kind == "chain" && x["table"] == t.name && x["name"] == c.name &&
					c.base != nil &&
					len(c.base.Devices) > 0 {
					x["dev"] = c.base.Devices[0]
				}
			}
		}
		return true
	})
}

// withoutCompat is nft's listing without the tables of iptables-nft, which iptables-nft-save prints
// in full.
func withoutCompat(j *judge, listing string) string {
	return edit(j, listing, func(kind string, x map[string]any) bool {
		name := x["table"]
		if kind == "table" {
			name = x["name"]
		}
		s, _ := name.(string)
		return builtin[s] == nil || x["family"] != "ip" && x["family"] != "ip6"
	})
}

// edit filters and changes the objects of nft's listing.
func edit(j *judge, listing string, keep func(kind string, x map[string]any) bool) string {
	var list struct {
		Nftables []map[string]map[string]any `json:"nftables"`
	}
	if err := json.Unmarshal([]byte(listing), &list); err != nil {
		j.t.Fatal(err)
	}
	list.Nftables = slices.DeleteFunc(list.Nftables, func(o map[string]map[string]any) bool {
		for kind, x := range o {
			if !keep(kind, x) {
				return true
			}
		}
		return false
	})
	out, err := json.Marshal(list)
	if err != nil {
		j.t.Fatal(err)
	}
	return string(out)
}

// bounds is a view's answer to a question.
type bounds struct {
	view              string
	certain, possible ex.Ranges
	answer            ex.Answer
}

// compare describes where a reader's answer contradicts the description's; "" if it doesn't. sharp
// reports whether it is as exact as the description's without a known order, or more.
func compare(described, unordered, read bounds) (problem string, sharp bool) {
	exact := func(than bounds) bool {
		return than.certain.Minus(read.certain).Empty() &&
			read.possible.Minus(than.possible).Empty()
	}
	sharp = exact(described) || exact(unordered)
	if wrong := read.certain.Minus(described.possible); !wrong.Empty() {
		return fmt.Sprintf(
			"it lets %v through, by %s, for certain; the description doesn't",
			wrong,
			read.view,
		), sharp
	}
	if wrong := described.certain.Minus(read.possible); !wrong.Empty() {
		return fmt.Sprintf(
			"it lets %v through, for certain; by %s it doesn't",
			wrong,
			read.view,
		), sharp
	}
	return "", sharp
}
