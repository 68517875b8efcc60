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

// view is a ruleset as somebody tells it: the generator itself, or a reader that asked the kernel for what was loaded.
type view struct {
	name string
	e    *ex.Evaluator
}

// views is every way to know the ruleset that is loaded. The first is the generator's own, the second that with the order of equal
// priorities left open: what is read must say no more than the one and no less than the other.
func (j *judge) views(d *description) []view {
	out := []view{
		{"the description", ex.NewEvaluator(d.model(), j.host)},
		{"the description without order", ex.NewEvaluator(blurred(d), j.host)},
	}
	var rules *ex.Ruleset
	var host *ex.Host
	err := j.w.Host.Do(func() (err error) {
		if rules, err = live.Rules(context.Background()); err == nil {
			host, err = hostview.Read(context.Background())
		}
		return err
	})
	if err != nil {
		j.t.Fatalf("reading seed %d from the kernel: %v", d.seed, err)
	}
	if len(rules.Missing) > 0 {
		j.t.Fatalf("seed %d: the kernel's rules are incomplete: %v", d.seed, rules.Missing)
	}
	out = append(out, view{"what the kernel says", ex.NewEvaluator(rules, host)})
	listing := withDevices(j, d, j.w.Host.Run("nft", "-j", "list", "ruleset"))
	// iptables-nft's rules have no options here: nearly all of it is unknown, which takes its time.
	if !d.legacy() || j.xt == "nft" && d.seed%8 == 0 {
		out = append(out, j.files(d, host, rulesetfile.File{Name: "nft.json", Text: strings.NewReader(listing)}))
	}
	if !d.legacy() {
		text := j.w.Host.Run("nft", "list", "ruleset")
		out = append(out, j.files(d, host, rulesetfile.File{Name: "nft.txt", Text: strings.NewReader(text)}))
	}
	if d.legacy() {
		own := listing
		if j.xt == "nft" {
			own = withoutCompat(j, listing)
		}
		out = append(out, j.files(d, host,
			rulesetfile.File{Name: "nft.json", Text: strings.NewReader(own)},
			rulesetfile.File{Name: "rules.v4", Family: ex.FamilyIPv4, Text: strings.NewReader(j.w.Host.Run("iptables-" + j.xt + "-save"))},
			rulesetfile.File{Name: "rules.v6", Family: ex.FamilyIPv6, Text: strings.NewReader(j.w.Host.Run("ip6tables-" + j.xt + "-save"))},
			rulesetfile.File{Name: "ipsets", Text: strings.NewReader(j.w.Host.Run("ipset", "save"))}))
	}
	return out
}

func (j *judge) files(d *description, host *ex.Host, files ...rulesetfile.File) view {
	var names []string
	files = slices.DeleteFunc(files, func(f rulesetfile.File) bool {
		r, ok := f.Text.(*strings.Reader)
		return ok && r.Len() == 0 // there are no ipsets
	})
	for _, f := range files {
		names = append(names, f.Name)
	}
	rules, err := rulesetfile.Load(files...)
	if err != nil {
		j.t.Fatalf("reading seed %d from files: %v", d.seed, err)
	}
	return view{strings.Join(names, ", "), ex.NewEvaluator(rules, host)}
}

// withDevices adds the devices of chains at ingress, which nft prints from 1.0.7 on.
func withDevices(j *judge, d *description, listing string) string {
	return edit(j, listing, func(kind string, x map[string]any) bool {
		for _, t := range d.tables {
			for _, c := range t.chains {
				if kind == "chain" && x["table"] == t.name && x["name"] == c.name && c.base != nil && len(c.base.Devices) > 0 {
					x["dev"] = c.base.Devices[0]
				}
			}
		}
		return true
	})
}

// withoutCompat is nft's listing without what iptables-nft has written, which its own save tells better.
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

// edit goes through the objects of a listing of nft and keeps some.
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

// bounds is what a view says of a question.
type bounds struct {
	view              string
	certain, possible ex.Ranges
	answer            ex.Answer
}

// compare tells where a reader's answer contradicts the description's; "" if it doesn't. sharp reports whether it is as exact as the description's, at
// least as the one without order.
func compare(described, unordered, read bounds) (problem string, sharp bool) {
	exact := func(than bounds) bool {
		return than.certain.Minus(read.certain).Empty() && read.possible.Minus(than.possible).Empty()
	}
	sharp = exact(described) || exact(unordered)
	if wrong := read.certain.Minus(described.possible); !wrong.Empty() {
		return fmt.Sprintf("it lets %v through, by %s, for certain; the description doesn't", wrong, read.view), sharp
	}
	if wrong := described.certain.Minus(read.possible); !wrong.Empty() {
		return fmt.Sprintf("it lets %v through, for certain; by %s it doesn't", wrong, read.view), sharp
	}
	return "", sharp
}
