package main

import (
	"context"
	"testing"

	"github.com/portgrave/portgrave/test/lab"
)

// The kernel is the judge of what was encoded: after each transaction the set holds what it should.
func TestKernelHoldsWhatWasSent(t *testing.T) {
	lab.RequireRoot(t)
	for _, family := range []Family{IPv4, IPv6} {
		l := NewLists(family, 2000)
		err := isolated(func() error {
			s, err := OpenSocket()
			if err != nil {
				return err
			}
			defer func() { _ = s.Close() }()
			for _, step := range []struct {
				name string
				fill func(b *Batch)
				want int
			}{
				{"load", func(b *Batch) { b.Table(); b.Set(); b.Add(l.Initial) }, 2000},
				{"one", func(b *Batch) { b.Add(l.One.Add) }, 2001},
				{"a hundredth", func(b *Batch) { b.Remove(l.Percent.Remove); b.Add(l.Percent.Add) }, 2001},
				{"replace", func(b *Batch) { b.Flush(); b.Add(l.Other) }, 2000},
			} {
				b := NewBatch(family)
				step.fill(b)
				if _, err := s.Commit(b); err != nil {
					t.Errorf("%s, %s: %v", family, step.name, err)
					return nil
				}
				_, n, err := readSet(context.Background())
				if err != nil || n != step.want {
					t.Errorf(
						"%s, %s: the set holds %d intervals, want %d (%v)",
						family,
						step.name,
						n,
						step.want,
						err,
					)
				}
			}
			b := NewBatch(family)
			b.Add(l.Other[:1])
			b.Remove(l.Initial[:1]) // not there
			if _, err := s.Commit(b); err == nil {
				t.Errorf("%s: removing what isn't there succeeded", family)
			}
			b = NewBatch(family)
			b.DropEverything()
			_, err = s.Commit(b)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
