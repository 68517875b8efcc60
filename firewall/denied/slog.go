package denied

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
)

// Slog logs each event at a level, with the same attributes as in its JSON form.
func Slog(logger *slog.Logger, level slog.Level) func(Event) error {
	return func(e Event) error {
		ctx := context.Background()
		if !logger.Enabled(ctx, level) {
			return nil
		}
		attrs := make([]slog.Attr, 0, 16)
		text := func(name, value string) {
			if value != "" {
				attrs = append(attrs, slog.String(name, value))
			}
		}
		number := func(name string, value uint64) {
			if value != 0 {
				attrs = append(attrs, slog.Uint64(name, value))
			}
		}
		address := func(name string, value netip.Addr) {
			if value.IsValid() {
				attrs = append(attrs, slog.String(name, value.String()))
			}
		}
		text("action", string(e.Action))
		text("service", e.Service)
		text("protocol", e.Protocol)
		address("source", e.Source)
		number("source_port", uint64(e.SourcePort))
		address("destination", e.Destination)
		number("port", uint64(e.Port))
		if e.ICMP != nil {
			attrs = append(attrs, slog.Group("icmp", "type", e.ICMP.Type, "code", e.ICMP.Code))
		}
		text("interface", e.Interface)
		number("count", e.Count)
		number("sources", e.Sources)
		text("examples", joinAddresses(e.Examples, ","))
		if e.Last != e.Time {
			attrs = append(attrs, slog.Time("first", e.Time), slog.Time("last", e.Last))
		}
		logger.LogAttrs(ctx, level, summary(e), attrs...)
		return nil
	}
}

// summary describes an event in words.
func summary(e Event) string {
	switch {
	case e.Action == Lost:
		return "packets were not reported"
	case e.Action == Allowed:
		return "connection accepted"
	case e.Sources > 0:
		return "packets of many sources refused"
	case e.Count > 1:
		return "packets refused"
	}
	return "packet refused"
}

func joinAddresses(list []netip.Addr, separator string) string {
	words := make([]string, len(list))
	for i, a := range list {
		words[i] = a.String()
	}
	return strings.Join(words, separator)
}
