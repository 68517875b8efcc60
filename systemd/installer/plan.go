package installer

import (
	"fmt"
	"io/fs"
	"slices"
)

// Action is what to do about a path.
type Action string

// The actions of a plan.
const (
	Make    Action = "make"    // nothing is there
	Replace Action = "replace" // something else is there
	Remove  Action = "remove"
	Stays   Action = "keep" // it must not be changed; Reason says why
)

// Step is one step of a plan. Its JSON is a contract.
type Step struct {
	Action Action `json:"action"`
	Path   string `json:"path"`
	Kind   Kind   `json:"kind"`
	Reason string `json:"reason,omitempty"`

	file File
}

// There describes what is at a path.
type There struct {
	Kind    Kind // "" for nothing, "other" for an unknown kind
	Mode    fs.FileMode
	Content []byte
	Target  string
}

// same reports whether a path is as it should be.
func (f File) same(t There) bool {
	if t.Kind != f.Kind {
		return false
	}
	switch f.Kind {
	case Regular:
		return string(t.Content) == string(f.Content) && t.Mode.Perm() == f.Mode
	case Link:
		return t.Target == f.Target
	}
	return true
}

// Install returns the steps that install files. there is what is at each path now.
func Install(files []File, there map[string]There) ([]Step, error) {
	var steps []Step
	for _, f := range files {
		t := there[f.Path]
		switch {
		case f.same(t):
		case t.Kind == "":
			steps = append(steps, Step{Action: Make, Path: f.Path, Kind: f.Kind, file: f})
		case t.Kind != f.Kind && !(f.Keep && t.Kind == Link):
			return nil,
				fmt.Errorf("%s is in the way: it should be a %s: move it away", f.Path, f.Kind)
		case f.Keep:
			steps = append(steps,
				Step{Action: Stays, Path: f.Path, Kind: f.Kind, Reason: "it is there already"})
		default:
			steps = append(steps, Step{Action: Replace, Path: f.Path, Kind: f.Kind, file: f})
		}
	}
	return steps, nil
}

// Uninstall returns the steps that remove what Install has made, and with state also what was
// applied.
func Uninstall(files []File, there map[string]There, state bool) []Step {
	var steps []Step
	for _, f := range slices.Backward(files) {
		t := there[f.Path]
		step := Step{Action: Remove, Path: f.Path, Kind: f.Kind, file: f}
		switch {
		case t.Kind == "":
			continue
		case f.State && !state:
			step.Action, step.Reason = Stays,
				"it holds the history, and leases: --state removes it, too"
		case f.Path == Program: // remove any version
		case !f.same(t):
			step.Action, step.Reason = Stays, "it was changed since it was installed"
		}
		steps = append(steps, step)
	}
	return steps
}

// Changes reports whether a plan does anything.
func Changes(steps []Step) bool {
	return slices.ContainsFunc(steps, func(s Step) bool { return s.Action != Stays })
}
