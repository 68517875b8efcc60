package audit

import (
	"sync"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Most ports of a host are open to the same few sets of sources, which may be long. Equal ones are
// kept, and made into prefixes, once.

const (
	// maxShared is how many sets are remembered, the newest.
	maxShared = 16
	// minShared is how many ranges make a set worth it.
	minShared = 64
)

// shared remembers sets; nil remembers nothing. once may be called by several goroutines at a time.
// simplest takes no lock: it is called by the one that judges rows, after all were asked about.
type shared struct {
	mu    sync.Mutex
	sets  []exposure.Ranges
	texts []text
}

// text is a set as prefixes.
type text struct {
	set, nowhere sources
	prefixes     firewall.Prefixes
}

// once is the set, or an equal one that came before.
func (s *shared) once(r exposure.Ranges) exposure.Ranges {
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

// simplest is sources.simplest, for one goroutine.
func (s *shared) simplest(set, nowhere sources) firewall.Prefixes {
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
