package history

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host/statefiles"
)

// A rollback, or the end of a trial, goes back to what lists held before, while their files hold
// what it went back from. So its generation records what is set aside: by the list's name, the
// digest of the content that must not be put in force again. A list is followed again once it holds
// anything else, which a file beside the generation then says.

// asideEnding ends the name of the file that says what of a generation's SetAside is left.
const asideEnding = "setaside"

func asideName(n int) string { return idOf(n) + "." + asideEnding }

// GoingBack returns what is set aside by going back from one generation to another: what the lists
// hold now as far as that is known, or what they held for the generation that is left, unless the
// other one was made of the same.
func GoingBack(from, to Record, now map[string]string) map[string]string {
	aside := maps.Clone(from.Lists)
	if aside == nil {
		aside = map[string]string{}
	}
	maps.Copy(aside, from.SetAside)
	maps.Copy(aside, now)
	maps.DeleteFunc(aside, func(list, digest string) bool { return to.Lists[list] == digest })
	if len(aside) == 0 {
		return nil
	}
	return aside
}

// SetAside records what is left of what a generation has set aside. Hold the Lock.
func (s *Store) SetAside(n int, aside map[string]string) error {
	body, err := json.Marshal(aside)
	if err == nil {
		err = s.files.Write(asideName(n), statefiles.Bytes(append(body, '\n')))
	}
	if err == nil {
		err = s.files.Sync()
	}
	if err != nil {
		return fmt.Errorf("which lists generation %d follows again can't be recorded: %w", n, err)
	}
	for trial := n + 1; err == nil; trial++ { // the file tells from now on
		err = s.files.Rename(takenBackName(trial), withdrawnName(trial))
	}
	return nil
}

// leftAside is SetAside of a record as of now. A file that can't be read counts as none: a list
// that is not followed is the smaller harm.
func (s *Store) leftAside(r Record) map[string]string {
	if body, err := s.files.Read(asideName(r.Number)); err == nil {
		var left map[string]string
		if json.Unmarshal(body, &left) == nil {
			r.SetAside = left
		}
	}
	if trial, ok := s.takenBack(r.Number); ok {
		return GoingBack(Record{Lists: trial.Lists, SetAside: r.SetAside}, r, trial.Lists)
	}
	return r.SetAside
}

// KeepAside is a State, and the digests of its lists, with what a generation has set aside: a
// service that uses such a list keeps the sources that the generation has for it. uses are the
// lists of each service.
func (g *Generation) KeepAside(
	s firewall.State, lists map[string]string, uses map[string][]string,
) (firewall.State, map[string]string) {
	s.Services, lists = slices.Clone(s.Services), maps.Clone(lists)
	isAside := func(list string) bool { return g.SetAside[list] != "" }
	for i := range s.Services {
		svc := &s.Services[i]
		if !slices.ContainsFunc(uses[svc.Name], isAside) {
			continue
		}
		for _, x := range g.State.Services {
			if x.Name == svc.Name {
				svc.Sources, svc.Expiring = x.Sources, x.Expiring
			}
		}
	}
	for list := range g.SetAside {
		lists[list] = g.Lists[list]
	}
	return s, lists
}
