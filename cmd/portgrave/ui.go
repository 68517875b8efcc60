package main

// Rules of the user interface:
//
//   - Results go to standard output, everything else (errors, warnings, progress) to standard
//     error.
//   - A result that can't be written is a failure, whatever was done.
//   - With -o json standard output holds exactly one JSON object, also for failures ("error"); a
//     stream (log --follow, drift --watch, audit --watch) has one a line.
//   - Exit codes: 0 fine, 1 failed, 2 something to report, 3 invalid policy or usage, 4 not
//     allowed.
//   - Text is for people: aligned, colour only on a terminal and without NO_COLOR. JSON is the
//     contract.
//   - An error says what failed, where, and what to do.
//   - Only teardown asks, and only on a terminal; -y answers beforehand. --force overrules what is
//     refused.

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/policy"
	"golang.org/x/sys/unix"
)

// Exit codes, a contract.
const (
	exitFine       = 0
	exitFailed     = 1
	exitReport     = 2
	exitInvalid    = 3
	exitNotAllowed = 4
)

// errReport ends a verb that has printed something to report.
var errReport = errors.New("something to report")

// usagef is a command line that can't be understood.
func usagef(format string, args ...any) error {
	return host.Usagef(format, args...)
}

func exitCode(err error) int {
	var problems policy.Problems
	var usage host.UsageError
	switch {
	case err == nil:
		return exitFine
	case errors.Is(err, errReport):
		return exitReport
	case errors.As(err, &usage), errors.As(err, &problems) && !problems.Faults():
		return exitInvalid
	case errors.Is(err, firewall.ErrPermission):
		return exitNotAllowed
	}
	return exitFailed
}

// screen is where a verb prints.
type screen struct {
	out      *output
	err      io.Writer
	json     bool
	colour   bool
	columns  int       // see columnsOf
	errors   int       // the same for standard error
	quiet    bool      // only errors, and the JSON object
	progress *progress // nil shows none
}

func newScreen(
	stdout *output,
	stderr io.Writer,
	format string,
	getenv func(string) string,
) *screen {
	return &screen{
		out:      stdout,
		err:      stderr,
		json:     format == "json",
		colour:   getenv("NO_COLOR") == "" && isTerminal(stdout.to),
		columns:  columnsOf(stdout.to),
		errors:   columnsOf(stderr),
		progress: newProgress(stderr),
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// object prints the one JSON object. Its lists are never null.
func (s *screen) object(v any) error {
	e := json.NewEncoder(s.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(api.WithLists(v))
}

func (s *screen) printf(format string, args ...any) {
	if !s.quiet {
		_, _ = fmt.Fprintf(s.out, format, args...)
	}
}

// setVolume has the screen say less or more than usual.
func (s *screen) setVolume(quiet, verbose bool) {
	if s.quiet = quiet; quiet {
		s.progress = nil
	}
	if s.progress != nil {
		s.progress.verbose = verbose
	}
}

// detailf prints on standard error what only --verbose asks for.
func (s *screen) detailf(format string, args ...any) {
	if s.progress != nil && s.progress.verbose {
		s.progress.clear()
		s.say("portgrave: "+format, args...)
	}
}

// say prints a line on standard error, or several where it is a terminal.
func (s *screen) say(format string, args ...any) {
	for line := range strings.SplitSeq(fmt.Sprintf(format, args...), "\n") {
		_, _ = fmt.Fprintln(s.err, wrapped(line, s.errors))
	}
}

// notef prints on standard error what is not part of the result.
func (s *screen) notef(format string, args ...any) {
	if !s.quiet {
		s.progress.clear()
		s.say("portgrave: "+format, args...)
	}
}

func (s *screen) warnf(format string, args ...any) {
	if s.quiet {
		return
	}
	s.progress.clear()
	s.say("portgrave: warning: "+format, args...)
}

// fail prints an error that ends the verb.
func (s *screen) fail(verb string, err error) {
	var problems policy.Problems
	isPolicy := errors.As(err, &problems)
	if s.json {
		o := map[string]any{"error": err.Error(), "kind": api.KindOf(err)}
		if isPolicy {
			o["error"] = "the policy " + whatIsWrong(problems)
			o["problems"] = problems
			if problems.Faults() {
				o["kind"] = "failed"
			}
		}
		_ = s.object(o)
	}
	switch {
	case isPolicy:
		s.invalid("", problems)
	default:
		s.complain(verb, err)
	}
	if errors.Is(err, firewall.ErrPermission) {
		_, _ = fmt.Fprintf(s.err, "Try: sudo portgrave %s\n", verb)
	}
}

// invalid prints the mistakes of a policy, which has a name where there are several.
func (s *screen) invalid(name string, problems policy.Problems) {
	if name != "" {
		name += ": "
	}
	s.progress.clear()
	s.say("%v\nportgrave: %sthe policy %s (%s); the rules in force stay", problems, name,
		whatIsWrong(problems), plural(len(problems), "problem"))
}

// whatIsWrong says what problems make of a policy.
func whatIsWrong(problems policy.Problems) string {
	if problems.Faults() {
		return "can't be read"
	}
	return "is not valid"
}

// complain says what went wrong, in a line.
func (s *screen) complain(verb string, err error) {
	if verb != "" {
		verb += ": "
	}
	s.say("portgrave: %s%v", verb, err)
}

// ANSI colours by meaning.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (s *screen) paint(colour, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

func plural(n int, word string) string { return host.Plural(n, word) }

// invalidReported is an error whose details are printed already, as JSON.
type invalidReported struct{ error }

func (e invalidReported) Unwrap() error { return e.error }
