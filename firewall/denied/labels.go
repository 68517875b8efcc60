package denied

import (
	"strings"
	"sync/atomic"

	"github.com/portgrave/portgrave/firewall"
)

// label is what a report's prefix says. The zero label is a prefix that is none of ours.
type label struct {
	action  Action
	service string
}

// labels reads prefixes, each of them once: the same few come again and again.
type labels struct {
	known map[string]label
	// names leads from services' names as iptables reports them, cut, to the whole ones.
	names atomic.Pointer[map[string]string]
	// used is the value of names with which known was made.
	used *map[string]string
}

// maxLabels bounds what is remembered. Only rules make prefixes, so it is not met but by somebody
// else who logs to our group.
const maxLabels = 4096

func (l *labels) of(prefix []byte) label {
	if names := l.names.Load(); l.known == nil || names != l.used || len(l.known) > maxLabels {
		l.known, l.used = map[string]label{}, names
	}
	if known, ok := l.known[string(prefix)]; ok { // the compiler makes no string for this
		return known
	}
	parsed := l.parse(string(prefix))
	l.known[string(prefix)] = parsed
	return parsed
}

func (l *labels) parse(prefix string) label {
	for _, kind := range []struct {
		prefix string
		action Action
	}{{firewall.LogPrefixDenied, Denied}, {firewall.LogPrefixAllowed, Allowed}} {
		name, ours := strings.CutPrefix(prefix, kind.prefix)
		if !ours {
			continue
		}
		if l.used != nil {
			if whole, cut := (*l.used)[name]; cut {
				name = whole
			}
		}
		return label{kind.action, name}
	}
	return label{}
}

// wholeNames finds the names that do not fit a prefix of iptables, by what stands there in their place.
func wholeNames(services []string) *map[string]string {
	names := map[string]string{}
	for _, name := range services {
		for _, kind := range []string{firewall.LogPrefixDenied, firewall.LogPrefixAllowed} {
			if short := strings.TrimPrefix(firewall.ShortLogPrefix(kind, name), kind); short != name {
				names[short] = name
			}
		}
	}
	return &names
}
