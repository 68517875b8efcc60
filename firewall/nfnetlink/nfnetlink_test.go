package nfnetlink

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/portgrave/portgrave/firewall/backendtest"
	"golang.org/x/sys/unix"
)

func TestAsk(t *testing.T) {
	backendtest.Isolate(t)
	c, err := Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	getgen := Request{Subsystem: unix.NFNL_SUBSYS_NFTABLES, Kind: unix.NFT_MSG_GETGEN}
	answers := 0
	if err := c.Ask(context.Background(), getgen, func(m Message) error {
		a, err := Parse(m.Attributes)
		if !a.Has(unix.NFTA_GEN_ID) {
			t.Errorf("no generation in %+v", a)
		}
		answers++
		return err
	}); err != nil || answers != 1 {
		t.Fatalf("%d answers, %v", answers, err)
	}
	missing := Request{
		Subsystem:  unix.NFNL_SUBSYS_NFTABLES,
		Kind:       unix.NFT_MSG_GETTABLE,
		Family:     2,
		Attributes: AppendString(nil, unix.NFTA_TABLE_NAME, "none"),
	}
	if err := c.Ask(context.Background(), missing, nil); !errors.Is(err, unix.ENOENT) {
		t.Errorf("a table that isn't there: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := c.Ask(ctx, getgen, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := c.Ask(context.Background(), getgen, func(Message) error { return nil }); err != nil {
		t.Errorf("after a cancelled request: %v", err)
	}
}

// A dump that fails midway ends with the error, in both kinds of messages that end one.
func TestEndCarriesTheError(t *testing.T) {
	for _, c := range []struct {
		data []byte
		want error
	}{
		{nil, nil}, // of old kernels
		{binary.NativeEndian.AppendUint32(nil, 0), nil},
		{binary.NativeEndian.AppendUint32(nil, ^uint32(unix.ENOENT)+1), unix.ENOENT},
	} {
		if err := errorOf(c.data); !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%x: %v, want %v", c.data, err, c.want)
		}
	}
}

// nfTables is a ruleset of which the transaction that counts is in use only once it was waited for.
type nfTables struct {
	generation uint32
	settled    bool
	fails      error
}

func (n *nfTables) Generation() (uint32, error) { return n.generation, n.fails }
func (n *nfTables) Settle() error               { n.settled = true; return nil }

func TestOneGeneration(t *testing.T) {
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		read  func(n *nfTables, attempt int) error
		want  error
		reads int
	}{
		"at once":            {func(*nfTables, int) error { return nil }, nil, 1},
		"somebody wrote":     {func(n *nfTables, i int) error { n.generation += uint32(max(0, 3-i)); return nil }, nil, 3},
		"torn, says so":      {func(_ *nfTables, i int) error { return []error{ErrInterrupted, unix.ENOENT, nil}[min(i-1, 2)] }, nil, 3},
		"writes all along":   {func(n *nfTables, _ int) error { n.generation++; return nil }, ErrInterrupted, 5},
		"fails":              {func(*nfTables, int) error { return boom }, boom, 1},
		"then can't be told": {func(n *nfTables, _ int) error { n.fails = boom; return nil }, boom, 1},
	} {
		n, reads := &nfTables{generation: 7}, 0
		got, err := OneGeneration(n, 5, func(generation uint32) error {
			if !n.settled || generation != n.generation {
				t.Errorf(
					"%s: read before it was settled, or told %d in generation %d",
					name,
					generation,
					n.generation,
				)
			}
			n.settled = false
			reads++
			return c.read(n, reads)
		})
		if !errors.Is(err, c.want) || c.want == nil && (err != nil || got != n.generation) ||
			reads != c.reads {
			t.Errorf("%s: generation %d, %v, after %d readings", name, got, err, reads)
		}
	}
}

func FuzzMessages(f *testing.F) {
	f.Add(encode(Request{Subsystem: 10, Attributes: AppendString(nil, 1, "filter")}, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = eachMessage(b, func(h header, data []byte) (bool, error) {
			m, err := messageOf(h.kind, data)
			if err == nil {
				_, err = Parse(m.Attributes)
			}
			_ = errorOf(data)
			return false, err
		})
	})
}
