package notify

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
)

// JournalStream reports whether a file is the stream that systemd has connected to the journal, as
// opposed to a terminal or pipe that replaced it (systemd.exec(5), JOURNAL_STREAM).
func JournalStream(f *os.File, getenv func(string) string) bool {
	device, inode, ok := strings.Cut(getenv("JOURNAL_STREAM"), ":")
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil {
		return false
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && strconv.FormatUint(s.Dev, 10) == device && strconv.FormatUint(s.Ino, 10) == inode
}

// Send sends an entry to the journal. Outside of tests it is journal.Send.
type Send func(message string, priority journal.Priority, fields map[string]string) error

// Journal returns a handler that writes each record to the journal as an entry with fields: MESSAGE
// and PRIORITY, and each attribute both in the message for people and as PORTGRAVE_NAME for
// journalctl and programs. If send fails, the record goes to fallback, so that nothing is lost
// while the journal restarts.
func Journal(send Send, fallback slog.Handler) slog.Handler {
	return &handler{send: send, fallback: fallback}
}

// prefix begins the names of our fields. Names without it belong to the journal.
const prefix = "PORTGRAVE_"

type handler struct {
	send     Send
	fallback slog.Handler
	attrs    []field
	group    string
}

// field is an attribute. Its name includes the names of its groups.
type field struct{ name, value string }

// Enabled implements slog.Handler.
func (h *handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}

// Handle implements slog.Handler.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	fields := append([]field{}, h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		fields = flatten(fields, h.group, a)
		return true
	})
	message := r.Message
	entry := map[string]string{prefix + "EVENT": r.Message}
	for _, f := range fields {
		message += " " + f.name + "=" + quoted(f.value)
		entry[fieldName(f.name)] = f.value
	}
	if err := h.send(message, priority(r.Level), entry); err != nil {
		return h.fallback.Handle(ctx, r)
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	more := *h
	more.fallback = h.fallback.WithAttrs(attrs)
	more.attrs = append([]field{}, h.attrs...)
	for _, a := range attrs {
		more.attrs = flatten(more.attrs, h.group, a)
	}
	return &more
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	more := *h
	more.fallback = h.fallback.WithGroup(name)
	more.group = h.group + name + "."
	return &more
}

// flatten appends an attribute, or the attributes of a group.
func flatten(fields []field, group string, a slog.Attr) []field {
	v := a.Value.Resolve()
	if a.Equal(slog.Attr{}) {
		return fields
	}
	if v.Kind() != slog.KindGroup {
		return append(fields, field{group + a.Key, text(v)})
	}
	if a.Key != "" {
		group += a.Key + "."
	}
	for _, x := range v.Group() {
		fields = flatten(fields, group, x)
	}
	return fields
}

func text(v slog.Value) string {
	if v.Kind() == slog.KindTime {
		return v.Time().Format(time.RFC3339Nano)
	}
	if err, ok := v.Any().(error); ok {
		return err.Error()
	}
	if s, ok := v.Any().(fmt.Stringer); ok && v.Kind() == slog.KindAny {
		return s.String()
	}
	return v.String()
}

// quoted returns plain words without quotes, as slog's text handler does.
func quoted(s string) string {
	if s == "" ||
		strings.ContainsFunc(s,
			func(r rune) bool { return r <= ' ' || r == '"' || r == '=' || r > '~' }) {
		return strconv.Quote(s)
	}
	return s
}

// fieldName converts an attribute's name for the journal, which allows up to 64 capital letters,
// digits and underscores (systemd.journal-fields(7)).
func fieldName(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, name)
	if name == "EVENT" { // the field of the message
		name = "EVENT_"
	}
	return (prefix + name)[:min(64, len(prefix)+len(name))]
}

// priority converts a level to syslog's priority.
func priority(l slog.Level) journal.Priority {
	switch {
	case l >= slog.LevelError:
		return journal.PriErr
	case l >= slog.LevelWarn:
		return journal.PriWarning
	case l >= slog.LevelInfo:
		return journal.PriInfo
	}
	return journal.PriDebug
}
