package nftables

import (
	"time"

	"github.com/portgrave/portgrave/firewall/exposure"
	kernel "github.com/portgrave/portgrave/firewall/netlink/nftables"
	"golang.org/x/sys/unix"
)

// elements are a set's elements as the kernel listed them.
type elements struct {
	list     []element
	catchall *element
	notes    map[int]exposure.Note
	verdicts map[int]exposure.Verdict
	objects  map[string]bool // names of the objects that elements refer to
	breaks   bool            // some element's verdict is a break
	broken   string
}

// element is a key, or the first and last of a range of keys for sets of concatenated ranges; for
// other interval sets a start, or an end that isn't in the interval any more.
type element struct {
	key, last []byte
	data      []byte
	end       bool
	index     int // of its note and verdict
}

func decodeElements(s *kernelSet, now time.Time) *elements {
	out := &elements{
		notes:    map[int]exposure.Note{},
		verdicts: map[int]exposure.Verdict{},
		objects:  map[string]bool{},
		broken:   s.broken,
	}
	if l := s.read; l != nil {
		out.list = make([]element, 0, l.Len())
		for i := range l.n {
			out.list = append(out.list, element{key: l.key(i), end: l.isEnd(i), index: i})
		}
		for _, b := range l.Others {
			if err := out.add(s, b, now); err != nil {
				out.broken = err.Error()
			}
		}
		if l.Malformed != "" {
			out.broken = l.Malformed
		}
	}
	if out.breaks && out.catchall != nil {
		out.broken = "elements that break off the rule, and a catch-all"
	}
	return out
}

func (l *elements) add(s *kernelSet, b []byte, now time.Time) error {
	k, err := kernel.DecodeElement(b)
	if err != nil {
		return err
	}
	e := element{key: k.Key, last: k.KeyEnd, data: k.Data, end: k.IntervalEnd(), index: len(l.list)}
	if !k.Catchall() && (len(e.key) != s.keyLength || e.last != nil && len(e.last) != s.keyLength) {
		l.broken = "an element whose key is of another length"
		return nil
	}
	if k.HasVerdict {
		v, ok := verdictOf(k.Verdict)
		// the rule ends as if the element weren't there, unless a catch-all would then be found
		if !ok {
			l.breaks = l.breaks || !k.Catchall()
			return nil
		}
		l.verdicts[e.index] = v
	}
	if k.Object != "" {
		l.objects[k.Object] = true
	}
	condition, _ := conditions(k.Exprs)
	note := exposure.Note{Comment: k.Comment, Condition: condition}
	if k.Expires {
		note.Expires = now.Add(time.Duration(min(k.Milliseconds, 1<<43)) * time.Millisecond)
	}
	if note != (exposure.Note{}) {
		l.notes[e.index] = note
	}
	if k.Catchall() {
		e.index = -1
		l.catchall = &e
		l.move(len(l.list), -1)
		return nil
	}
	l.list = append(l.list, e)
	return nil
}

// move gives the catch-all's note and verdict an index of their own.
func (l *elements) move(from, to int) {
	if v, ok := l.verdicts[from]; ok {
		l.verdicts[to] = v
		delete(l.verdicts, from)
	}
	if n, ok := l.notes[from]; ok {
		l.notes[to] = n
		delete(l.notes, from)
	}
}

// verdictOf is false for a break, which is no verdict of the model. A code that nobody knows is
// taken for a queue: it may do anything.
func verdictOf(v kernel.Verdict) (exposure.Verdict, bool) {
	switch v.Code {
	case kernel.CodeDrop:
		return exposure.Verdict{Kind: exposure.VerdictDrop}, true
	case kernel.CodeAccept:
		return exposure.Verdict{Kind: exposure.VerdictAccept}, true
	case unix.NFT_CONTINUE:
		return exposure.Verdict{Kind: exposure.VerdictContinue}, true
	case unix.NFT_BREAK:
		return exposure.Verdict{}, false
	case unix.NFT_JUMP:
		return exposure.Verdict{Kind: exposure.VerdictJump, Chain: v.Chain}, true
	case unix.NFT_GOTO:
		return exposure.Verdict{Kind: exposure.VerdictGoto, Chain: v.Chain}, true
	case unix.NFT_RETURN:
		return exposure.Verdict{Kind: exposure.VerdictReturn}, true
	}
	return exposure.Verdict{Kind: exposure.VerdictQueue, With: queueText(uint32(v.Code))}, true
}
