package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/host/bootclock"
	"github.com/portgrave/portgrave/firewall/host/statefiles"
)

// Generation is one applied State, and when, by whom and why it was applied.
type Generation struct {
	Record
	// State is what the policy compiled to.
	State firewall.State
	// Leased is what was enforced, if leases opened more than State does; nil otherwise.
	Leased *firewall.State

	stamp statefiles.Stamp // of its file; see Store.Unchanged
	large storedSets       // the large sets of both States, as they are on disk
}

// Record is a generation without what it enforces. Its JSON stands in the file.
type Record struct {
	Number  int       `json:"generation"` // from 1, never used twice
	Time    time.Time `json:"time"`
	User    string    `json:"user"`
	From    string    `json:"from"` // the SSH client's address, or ""
	Reason  string    `json:"reason"`
	Backend string    `json:"backend"`
	Origin  string    `json:"origin"`  // where the policy was read from
	Summary string    `json:"summary"` // what it changed, in a line
	// Services is how many State has.
	Services int `json:"services"`
	// Confirmed: nobody needs to say any more that it works. On disk it is as it was when the
	// generation was applied; Load also looks for a later Confirm.
	Confirmed bool `json:"confirmed"`
	// ConfirmBy is when an unconfirmed generation is taken back; zero in one that never waited.
	ConfirmBy time.Time `json:"confirm_by,omitzero"`
	// BootID is the start of the system in which an unconfirmed one was applied: it does not
	// survive a reboot, whenever that is.
	BootID string `json:"boot_id,omitempty"`
	// ConfirmUptime is ConfirmBy on the boot clock of BootID, which nobody sets; zero where that is
	// unknown.
	ConfirmUptime time.Duration `json:"confirm_uptime,omitempty"`
	// TookBack is the unconfirmed generation that this one has replaced when its time was up; 0:
	// none.
	TookBack int `json:"took_back,omitempty"`
	// TornDown marks the end: the rules were removed, and State is empty.
	TornDown bool `json:"torn_down,omitempty"`
	// Policy names the text that State was compiled from, which KeepPolicy has kept; "" if there
	// was none.
	Policy string `json:"policy,omitempty"`
	// Lists has a digest of what each list held that State was compiled from; nil if unknown.
	Lists map[string]string `json:"lists,omitempty"`
	// SetAside has a digest of what lists hold that was taken back; see GoingBack. On disk it is as
	// it was when the generation was applied; Load also looks for a later Store.SetAside.
	SetAside map[string]string `json:"set_aside,omitempty"`
	// LeftPolicy is the other Policy that a rollback went back from; "" if there was none.
	LeftPolicy string `json:"left_policy,omitempty"`
	// Sets names the files that its large sets are made from; see storedSet. Append sets it.
	Sets []string `json:"sets,omitempty"`
}

// OnTrial makes the generation one that is taken back some time after now, unless it is confirmed.
func (r *Record) OnTrial(now bootclock.Reading, wait time.Duration) {
	end := now.After(wait)
	r.Confirmed, r.ConfirmBy = false, end.Wall.UTC()
	r.BootID, r.ConfirmUptime = end.BootID, end.Uptime
}

// InForce is the State that the generation put in the kernel: the policy's with the leases of that
// moment. A later generation that goes back to this one goes back to its policy, State, with the
// leases of then.
func (g *Generation) InForce() firewall.State {
	if g.Leased != nil {
		return *g.Leased
	}
	return g.State
}

// Left is how long a generation that nobody has confirmed may stay; zero or less when it must be
// taken back, which is at once when the system was started anew since.
func (r *Record) Left(now bootclock.Reading) time.Duration {
	if r.Restarted(now) {
		return 0
	}
	return bootclock.Deadline{
		Wall:   r.ConfirmBy,
		BootID: r.BootID,
		Uptime: r.ConfirmUptime,
	}.Left(
		now,
	)
}

// Restarted reports whether the system was started anew since an unconfirmed generation was
// applied.
func (r *Record) Restarted(now bootclock.Reading) bool {
	return r.BootID != "" && now.BootID != "" && r.BootID != now.BootID
}

// Overdue reports whether a generation that nobody has confirmed must be taken back.
func (r *Record) Overdue(now bootclock.Reading) bool { return !r.Confirmed && r.Left(now) <= 0 }

// format is the form of what stands behind a Record. It rises when an older Portgrave would misread
// a State, which would put less in force than was meant; that one refuses it then.
const format = 2

// formatStored is the form of a generation with large sets, which stand in files of their own. One
// without them has format, so that an older Portgrave reads it.
const formatStored = 3

// recordLine is the line of JSON in a file. The binary form of State follows it, then that of
// Leased, if there is one.
type recordLine struct {
	Format int `json:"format"`
	Record
}

// encode is the content of a generation's file, but for the checksum.
func encode(g Generation) statefiles.Content {
	return func(w io.Writer) error {
		r := recordLine{format, g.Record}
		if len(g.Sets) > 0 {
			r.Format = formatStored
		}
		line, err := json.Marshal(r)
		if err != nil {
			return err
		}
		if _, err := w.Write(append(line, '\n')); err != nil {
			return err
		}
		return encodeStates(g.State, g.Leased, g.large)(w)
	}
}

// encodeStates is what stands behind the line.
func encodeStates(
	state firewall.State, leased *firewall.State, large storedSets,
) statefiles.Content {
	return func(w io.Writer) error {
		if len(large) == 0 {
			if err := state.WriteBinary(w); err != nil || leased == nil {
				return err
			}
			return leased.WriteBinary(w)
		}
		sets := setWriter{large: large, written: map[address.Identity]uint64{}}
		if err := state.WriteBinaryWith(w, sets.write); err != nil || leased == nil {
			return err
		}
		return leased.WriteBinaryWith(w, sets.write)
	}
}

// decodeRecord reads the line, and returns the bytes behind it.
func decodeRecord(body []byte) (Record, []byte, error) {
	line, enforces, _ := bytes.Cut(body, []byte("\n"))
	var r recordLine
	if err := json.Unmarshal(line, &r); err != nil {
		return Record{}, nil, err
	}
	if r.Format != format && r.Format != formatStored {
		return Record{}, nil, fmt.Errorf(
			"it has format %d, and this portgrave reads formats %d and %d",
			r.Format,
			format,
			formatStored,
		)
	}
	if (r.Format == formatStored) != (len(r.Sets) > 0) {
		return Record{}, nil, errors.New("its format and its sets contradict each other")
	}
	return r.Record, enforces, nil
}

// decodeStates reads what stands behind the line; read reads a set of it.
func decodeStates(enforces []byte, g *Generation, read readSet) (err error) {
	if g.State, enforces, err = firewall.ReadStateWith(enforces, read); err != nil {
		return err
	}
	if len(enforces) > 0 {
		g.Leased = new(firewall.State)
		if *g.Leased, enforces, err = firewall.ReadStateWith(enforces, read); err != nil {
			return err
		}
	}
	if len(enforces) > 0 {
		return errors.New("something follows its States")
	}
	if len(g.State.Services) != g.Services {
		return errors.New("it has not the services that it names")
	}
	return nil
}
