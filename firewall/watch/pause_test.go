package watch

import "testing"

func TestPauseAndResume(t *testing.T) {
	w := startWatcher(t)
	runNFT(t, "add table ip before")
	for range 2 {
		if err := w.Pause(); err != nil {
			t.Fatal(err)
		}
	}
	before := nextEvent(t, w)
	if before.Summary != "table ip before: table added or changed" {
		t.Errorf("before the pause: %+v", before)
	}
	runNFT(t, "add table ip own")
	for range 2 {
		if err := w.Resume(next(before.Generation)); err != nil {
			t.Fatal(err)
		}
	}
	expectNextCommit(t, w, "after")
}

// If another program commits during a pause, Resume reports a loss.
func TestCommitsDuringAPauseAreALoss(t *testing.T) {
	for name, own := range map[string]uint32{"others committed last": 1, "own commits failed": 0} {
		t.Run(name, func(t *testing.T) {
			w := startWatcher(t)
			runNFT(t, "add table ip before")
			before := nextEvent(t, w)
			if err := w.Pause(); err != nil {
				t.Fatal(err)
			}
			runNFT(t, "add table ip own")
			runNFT(t, "add table ip theirs")
			if own != 0 {
				own = next(before.Generation)
			}
			if err := w.Resume(own); err != nil {
				t.Fatal(err)
			}
			if e := nextEvent(t, w); !e.Lost || e.Generation != before.Generation+2 {
				t.Errorf("after generation %d: %+v", before.Generation, e)
			}
			expectNextCommit(t, w, "after")
		})
	}
}
