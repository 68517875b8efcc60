package denied

import (
	"strings"
	"sync/atomic"

	"github.com/portgrave/portgrave/firewall"
)

// label is the content of a report's prefix. The zero label is a prefix of another program.
type label struct {
	action  Action
	service string
}

// labels parses prefixes and caches the results.
type labels struct {
	known map[string]label
	// fullNames maps services' names that iptables has cut to the full names.
	fullNames atomic.Pointer[map[string]string]
	// usedNames is the value of fullNames that known was made with.
	usedNames *map[string]string
}

// maxLabels bounds the cache. Only rules make prefixes, so only another program that logs to our
// group can exceed it.
const maxLabels = 4096

func (l *labels) find(prefix []byte) label {
	if names := l.fullNames.Load(); l.known == nil || names != l.usedNames ||
		len(l.known) > maxLabels {
		l.known, l.usedNames = map[string]label{}, names
	}
	if known, ok := l.known[string(prefix)]; ok { // this conversion doesn't allocate
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
		if l.usedNames != nil {
			if whole, cut := (*l.usedNames)[name]; cut {
				name = whole
			}
		}
		return label{kind.action, name}
	}
	return label{}
}

// fullNames maps the names that don't fit a prefix of iptables from their cut form.
func fullNames(services []string) *map[string]string {
	names := map[string]string{}
	for _, name := range services {
		for _, kind := range []string{firewall.LogPrefixDenied, firewall.LogPrefixAllowed} {
			if short := strings.TrimPrefix(firewall.ShortLogPrefix(kind, name),
				kind); short != name {
				names[short] = name
			}
		}
	}
	return &names
}
