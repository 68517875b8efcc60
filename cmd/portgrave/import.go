package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
	"github.com/portgrave/portgrave/policy"
)

const (
	// maxInlineNetwork is how many prefixes a network has in the policy itself, if there is a
	// folder for files.
	maxInlineNetwork = 64
	// maxPrinted is how many prefixes a policy on standard output may have.
	maxPrinted = 100_000
	// maxDocument is how many bytes a policy may have to be read back.
	maxDocument = 10 << 20
)

// unknownRule is a rule that lets in sources that can't be known. Part of JSON's contract.
type unknownRule struct {
	Service string `json:"service"`
	Rule    string `json:"rule"`
	Taken   bool   `json:"taken"` // into the policy, with --include-unknown
	Stops   bool   `json:"stops"` // somebody; else it lets somebody in
}

// does says what the rule does to those of whom isn't known whether it holds for them.
func (u unknownRule) does() string {
	if u.Stops {
		return "stops"
	}
	return "lets in"
}

// importPolicy writes the policy that reproduces what the rules of this host do today, by any
// program, so that it can replace them.
func importPolicy(inv *invocation) error {
	inv.settle()
	read, done, err := readHost(inv.ctx)
	defer done()
	if err != nil {
		return err
	}
	wide := inv.cli.Bool("include-unknown")
	found, err := audit.Import(
		inv.ctx,
		audit.Input{
			Rules:   read.Rules,
			Host:    read.Host,
			Sockets: read.Sockets,
			IPVS:    read.IPVS,
			Now:     time.Now(),
		},
		audit.ImportOptions{IncludeUnknown: wide},
	)
	if err != nil {
		return err
	}
	leases, err := runningLeases(inv)
	if err != nil {
		return err
	}
	nameLeases(found, leases)
	if text := lockedOut(inv, found, leases); text != "" {
		found.Notes = slices.Insert(found.Notes, 0, text)
	}
	folder := inv.cli.String("folder")
	draft, unknown := draftOf(found, wide, folder != "")
	document := draft.Document()
	var allPorts []string
	for _, note := range found.Notes {
		rule := found.UnknownNotes[note]
		if slices.ContainsFunc(unknown, func(u unknownRule) bool { return u.Rule == rule }) {
			allPorts = append(allPorts, rule) // warnOfUnknown says it
			continue
		}
		inv.screen.warnf("%s", note)
	}
	warnOfUnknown(inv, unknown, allPorts, wide)
	ending := endingOf(found)
	for _, e := range ending {
		inv.screen.warnf("%s: %s", e.Service, e.why)
	}
	if folder == "" && len(document) > maxDocument {
		return fmt.Errorf("the policy has %d MiB, too many for one file: "+
			"portgrave import --folder DIR writes long lists beside it", len(document)>>20)
	}
	printed := 0
	for _, n := range draft.Networks {
		printed += n.Sources.Len()
	}
	if err := confirmDraft(inv.ctx, draft, found, printed); err != nil {
		return err
	}
	if folder == "" && printed > maxPrinted {
		return fmt.Errorf("the lists have %d entries, too many for one file: "+
			"portgrave import --folder DIR writes them beside the policy", printed)
	}
	if folder != "" {
		if err := writeDraft(folder, document, draft.Networks); err != nil {
			return err
		}
	}
	if inv.screen.json {
		return inv.screen.object(map[string]any{
			"policy":   document,
			"services": len(found.Services),
			"unknown":  orEmpty(unknown),
			"ending":   orEmpty(ending),
			"notes":    orEmpty(found.Notes),
		})
	}
	if folder != "" {
		inv.screen.printf("%s: %s. Try it with portgrave --config %s check\n",
			filepath.Join(folder, "policy.yaml"), plural(len(found.Services), "service"), folder)
		return nil
	}
	inv.screen.printf("%s", document)
	return nil
}

// stateOf is the State that was found.
func stateOf(found audit.Imported) (firewall.State, error) {
	s := firewall.State{
		Unlisted:    found.Unlisted,
		Refuse:      found.Refuse,
		Established: firewall.EstablishedCut,
		Essentials:  firewall.DefaultEssentials &^ found.Closed,
		Direct:      found.Direct,
	}
	for _, x := range found.Services {
		if !x.Idle { // these are comments
			s.Services = append(s.Services, x.Service)
		}
	}
	return s.Canonical()
}

// confirmDraft compiles a draft, its lists in the policy itself, and compares it with what was
// found: a difference is a mistake of ours, which must not be written. Where the lists are long, it
// only reads the draft.
func confirmDraft(
	ctx context.Context,
	draft policy.Draft,
	found audit.Imported,
	printed int,
) error {
	if printed > maxPrinted {
		_, err := policy.Parse("import", []byte(draft.Document()))
		return err
	}
	draft.Networks = slices.Clone(draft.Networks)
	for i := range draft.Networks {
		draft.Networks[i].File = ""
	}
	read, err := policy.Parse("import", []byte(draft.Document()))
	if err != nil {
		return err
	}
	compiled, err := read.Compile(ctx, nil)
	if err != nil {
		return err
	}
	want, err := stateOf(found)
	if err != nil {
		return err
	}
	if !compiled.State.Equal(want) {
		return errors.New(
			"the policy doesn't come to what the rules do: this is a mistake of portgrave; " +
				"please report it with the output of portgrave audit --json",
		)
	}
	return nil
}

// warnOfUnknown names each rule that could not be decided, once, with the services that it
// concerns. allPorts are those that concern ports without a service, too.
func warnOfUnknown(inv *invocation, unknown []unknownRule, allPorts []string, wide bool) {
	var order []string
	services := map[string][]string{}
	what := map[string]string{}
	for _, u := range unknown {
		if services[u.Rule] == nil {
			order = append(order, u.Rule)
		}
		what[u.Rule] = u.does()
		services[u.Rule] = append(services[u.Rule], u.Service)
	}
	does := "left out (--include-unknown takes it in)"
	if wide {
		does = "taken in"
	}
	for _, rule := range order {
		if slices.Contains(allPorts, rule) {
			services[rule] = append(services[rule], "ports without a service")
		}
		inv.screen.warnf("%s, since it can't be known whom it %s: %s; concerns %s",
			does, what[rule], rule, strings.Join(services[rule], ", "))
	}
}

// draftOf is what was found as a document says it, and the rules that it could not decide.
func draftOf(found audit.Imported, wide, files bool) (d policy.Draft, unknown []unknownRule) {
	d = policy.Draft{
		Unlisted: found.Unlisted,
		Refuse:   found.Refuse,
		Closed:   found.Closed,
		Direct:   found.Direct,
	}
	d.Comments = []string{fmt.Sprintf("What this host's rules let in on %s, as portgrave import "+
		"found it. Review it: not everything open today should stay open.",
		time.Now().Format("2006-01-02 15:04 MST"))}
	for _, n := range found.Notes {
		d.Comments = append(d.Comments, "Note: "+n+".")
	}
	for _, n := range found.Networks {
		network := policy.DraftNetwork{Name: n.Name, Sources: n.Sources}
		if files && n.Sources.Len() > maxInlineNetwork {
			network.File = filepath.Join("networks", n.Name+".txt")
		}
		d.Networks = append(d.Networks, network)
	}
	for _, s := range found.Services {
		svc := policy.DraftService{Service: s.Service, Purpose: s.Purpose, Idle: s.Idle}
		if behind := strings.TrimSpace(s.Behind); behind != "" &&
			!strings.EqualFold(behind, s.Name) {
			svc.Comments = append(svc.Comments, "today: "+behind)
		}
		if s.Target != "" {
			svc.Comments = append(svc.Comments, "published to "+s.Target)
		}
		for _, r := range s.Rated {
			svc.Comments = append(svc.Comments, "rate, from the rule: "+r)
		}
		if text := s.UnlimitedText(); text != "" {
			svc.Comments = append(svc.Comments, text)
		}
		for _, e := range s.Ending {
			svc.Comments = append(svc.Comments, e.String())
		}
		if s.MoreEnding != "" {
			svc.Comments = append(svc.Comments, s.MoreEnding)
		}
		for _, r := range s.Unknown {
			verb := "left out"
			if wide {
				verb = "taken in"
			}
			u := unknownRule{s.Name, r, wide, slices.Contains(s.Stopping, r)}
			svc.Comments = append(
				svc.Comments,
				fmt.Sprintf("%s, since it can't be known whom it %s: %s", verb, u.does(), r),
			)
			unknown = append(unknown, u)
		}
		if text := s.WithheldText(); text != "" {
			svc.Comments = append(svc.Comments, text)
		}
		d.Services = append(d.Services, svc)
	}
	return d, unknown
}

// writeDraft writes a policy and its lists into a folder. It replaces no policy.
func writeDraft(folder, document string, networks []policy.DraftNetwork) error {
	path := filepath.Join(folder, "policy.yaml")
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fmt.Errorf("%s exists already: name a new folder", path)
		}
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for _, n := range networks {
		if n.File == "" {
			continue
		}
		file := filepath.Join(folder, n.File)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(n.List()), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(path, []byte(document), 0o644)
}
