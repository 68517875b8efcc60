package nft

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// colours writes table inet portgrave anew until it is stopped, each time in one transaction: all
// of it is of one colour, and of another the next time.
type colours struct {
	stop   chan struct{}
	writer sync.WaitGroup
}

// Many objects, so that a transaction takes some time to come into use.
const (
	colourChains, colourRules = 40, 10
	colourSets, colourSpans   = 10, 100

	colourObjects = 1 + colourChains*colourRules + colourSets*colourSpans
)

func paint(t *testing.T) *colours {
	t.Helper()
	k, err := openKernel()
	if err != nil {
		t.Fatal(err)
	}
	// What is added and deleted in one transaction is seen before it is committed, so the first one
	// finds a table.
	if err := k.commit([]op{addTable{mark: "white"}}, 0); err != nil {
		t.Fatal(err)
	}
	c := &colours{stop: make(chan struct{})}
	c.writer.Go(func() {
		defer func() { _ = k.socket.Close() }()
		for i := 0; ; i++ {
			if err := k.commit(coat([]string{"red", "green"}[i%2]), 0); err != nil {
				t.Errorf("writing: %v", err)
				return
			}
			select {
			case <-c.stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	t.Cleanup(func() {
		close(c.stop)
		c.writer.Wait()
	})
	return c
}

// coat is the transaction that makes everything anew, in one colour.
func coat(colour string) []op {
	batch := []op{delTable{}, addTable{mark: colour}}
	for i := range colourChains {
		name := fmt.Sprintf("%s-%d", colour, i)
		batch = append(batch, addChain{name: name})
		for range colourRules {
			batch = append(batch, addRule{name, newRule().iifname("lo").accept()})
		}
	}
	for i := range colourSets {
		name := fmt.Sprintf("%s-%d", colour, i)
		var spans []span
		for k := range byte(colourSpans) {
			a := netip.AddrFrom4([4]byte{10, 0, 0, 2 * k})
			spans = append(spans, span{first: a, last: a})
		}
		batch = append(batch, addSet{name, specOf(kindNets, address.IPv4), kindNets},
			addElements{elements{set: name, kind: kindNets, spans: spans}})
	}
	return batch
}

// coloursOf counts the objects of each colour: the table, rules and elements.
func coloursOf(r *ruleset) map[string]int {
	n := map[string]int{r.mark: 1}
	for _, c := range r.chains {
		colour, _, _ := strings.Cut(c.name, "-")
		n[colour] += len(c.rules)
	}
	for _, s := range r.sets {
		colour, _, _ := strings.Cut(s.name, "-")
		n[colour] += len(s.spans)
	}
	return n
}

// What is read is what the kernel held in one generation, or an error, never a mixture of two.
func TestOneGeneration(t *testing.T) {
	for name, fresh := range map[string]bool{
		"by a command that begins": true,
		"by who remembers":         false,
	} {
		t.Run(name, func(t *testing.T) { oneGeneration(t, fresh) })
	}
}

// oneGeneration reads while another writes. One who remembers a mixture believes it until somebody
// writes again, so every reading is made twice.
func oneGeneration(t *testing.T, fresh bool) {
	inNamespace(t)
	b := open(t)
	paint(t)
	whole, torn, given, seen := 0, 0, 0, map[string]bool{}
	for end := time.Now().Add(time.Minute); (whole < 100 || len(seen) < 2) && time.Now().Before(end); {
		if fresh {
			b.forget()
		}
		o, err := b.Observe(t.Context())
		switch {
		case errors.Is(err, netlink.ErrInterrupted):
			given++
			continue
		case err != nil:
			t.Fatal(err)
		}
		r := o.(observation).ruleset
		if r.mark == "white" {
			continue
		}
		whole++
		seen[r.mark] = true
		if found := coloursOf(r); len(found) != 1 || found[r.mark] != colourObjects {
			if torn++; torn <= 3 {
				t.Errorf("reading %d, generation %d, is a mixture: %v", whole, r.generation, found)
			}
		}
		time.Sleep(time.Duration(rand.Int64N(int64(3 * time.Millisecond))))
	}
	t.Logf("%d readings, %d of them torn, %d given up", whole, torn, given)
	if whole < 20 || len(seen) != 2 {
		t.Errorf("read %d times, saw %v", whole, seen)
	}
}

// another is the kernel as another program writes to it: what it has just written is not in use
// yet.
type another struct{ *fakeKernel }

func (k another) commit(
	batch []op,
	generation uint32,
) error {
	return k.byOthers(batch, generation)
}

// A transaction of others that counts already is waited for, before what was remembered is compared
// with it and before anything is read.
func TestTransactionThatIsHalfwayDoneIsWaitedFor(t *testing.T) {
	k := newFakeKernel()
	ours, theirs := withKernel(k), withKernel(another{k})
	states := []firewall.State{simple(t), everything(t)}
	apply(t, ours, &states[0])
	for i := range 6 {
		next := &states[(i+1)%2]
		seen, err := theirs.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		plan, err := theirs.Diff(next, seen, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if err := theirs.Apply(t.Context(), plan); err != nil || k.halfway == nil {
			t.Fatalf("the other's transaction: %v", err)
		}
		for _, when := range []string{"at once", "later"} {
			if p := planOf(t, ours, next); !p.InSync() {
				t.Errorf("transaction %d, read %s, is a mixture:\n%s", i, when, changesText(p))
			}
		}
	}
}

// The kernel's own words at the end of a dump: the set goes while it is read.
func TestSetThatGoesWhileItIsRead(t *testing.T) {
	inNamespace(t)
	b, state := open(t), large(t, 1<<16, 1)
	apply(t, b, &state)
	seen, err := b.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	name, most := "", 0
	for _, s := range seen.(observation).sets {
		if n := s.elements(); n > most {
			name, most = s.name, n
		}
	}
	k, messages := b.kernel.(*netlinkKernel), 0
	err = k.socket.request(unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, func(e *encoder) {
		e.String(unix.NFTA_SET_ELEM_LIST_TABLE, tableName)
		e.String(unix.NFTA_SET_ELEM_LIST_SET, name)
	}, func([]byte) error {
		if messages++; messages == 1 {
			return tryNft("delete table inet " + tableName)
		}
		return nil
	})
	if !errors.Is(err, unix.ENOENT) || messages == 0 {
		t.Errorf("set %s of %d elements, after %d messages: %v", name, most, messages, err)
	}
}
