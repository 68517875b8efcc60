package daemon

import (
	"errors"
	"testing"
	"time"
)

func TestRetry(t *testing.T) {
	var r retry
	if r.due(0) != nil {
		t.Error("there is something to try again, and nothing has failed")
	}
	var pauses []time.Duration
	for range 20 {
		r.after(errors.New("no"))
		pauses = append(pauses, r.pause)
	}
	if pauses[0] != firstRetry || pauses[1] != 2*firstRetry || pauses[19] != longestRetry {
		t.Errorf("%v", pauses)
	}
	if r.after(nil); r.due(0) != nil {
		t.Error("what succeeded is tried again")
	}
	r.after(errors.New("no"))
	<-r.due(0)
	began := time.Now()
	if <-r.due(50 * time.Millisecond); time.Since(began) < 50*time.Millisecond {
		t.Error("it is tried again before a repair may begin")
	}
}
