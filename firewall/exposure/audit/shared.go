package audit

import (
	"sync"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Most ports of a host are open to the same few sets of sources, which may be long. Equal sets are
// stored, and converted to prefixes, once.

const (
	// maxShared is the number of remembered sets, the newest ones.
	maxShared = 16
	// minShared is the fewest ranges of a set that is remembered.
	minShared = 64
)

// shared remembers sets; nil remembers nothing. canonical is safe for concurrent use. simplest
// isn't: the goroutine that judges rows calls it, after all questions.
type shared struct {
	mu    sync.Mutex
	sets  []exposure.Ranges
	texts []text
}

// text is a set as prefixes.
type text struct {
	set, nowhere sources
	prefixes     address.Set
}

// canonical returns an equal set seen before, or the set itself.
func (s *shared) canonical(r exposure.Ranges) exposure.Ranges {
	if s == nil || r.Len() < minShared {
		return r
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, have := range s.sets {
		if have.Equal(r) {
			return have
		}
	}
	s.sets = append(s.sets, r)
	if len(s.sets) > maxShared {
		s.sets = s.sets[1:]
	}
	return r
}

// simplest is a remembered sources.simplest, for one goroutine.
func (s *shared) simplest(set, nowhere sources) address.Set {
	if s == nil || set[0].Len()+set[1].Len() < minShared {
		return set.simplest(nowhere)
	}
	for _, t := range s.texts {
		if t.set.equal(set) && t.nowhere.equal(nowhere) {
			return t.prefixes
		}
	}
	p := set.simplest(nowhere)
	s.texts = append(s.texts, text{set, nowhere, p})
	if len(s.texts) > maxShared {
		s.texts = s.texts[1:]
	}
	return p
}
