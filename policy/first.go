package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/iana"
)

// First is a first policy for a host that has none: it keeps the SSH server open to those who log
// in now, and lists what else listens as comments that a person can turn into services.
type First struct {
	Host string
	At   time.Time
	// Logins are the sources that reach the SSH server, whose ports are SSH. Without an SSH server
	// both are empty.
	Logins address.Set
	SSH    []uint16
	// Listening is what else takes packets from other machines.
	Listening []Listening
}

// Listening is a port on which a program listens.
type Listening struct {
	Port firewall.PortRange
	// Program is what people call it, and Unit the systemd unit that it belongs to; "" if unknown.
	Program, Unit string
	// Addresses are those that it is bound to.
	Addresses []string
}

// adminNetwork is the network of a First that has its Logins.
const adminNetwork = "admin"

// Document writes the policy. It is valid as it stands, and stays so when the # goes that is the
// first character behind the indentation of a suggested service.
func (f First) Document() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	writeComment(&b, "", fmt.Sprintf("A first policy for %s, made by portgrave init on %s.", f.Host,
		f.At.Format("2006-01-02 15:04 MST")))
	line("#")
	line("#   portgrave check                  is it valid?")
	line("#   portgrave plan                   what would change, and for whom?")
	line("#   portgrave apply --confirm 60s    put it in force, at first for a minute")
	line("#   portgrave confirm                keep it, once a new login has worked")
	line("#")
	line("# man portgrave-policy has every key.")
	line("version: 1")
	line("")
	line("# Ports that no service lists: ignore leaves them as they are, deny closes them.")
	line("# Write deny once every service that others need is listed below.")
	line("unlisted: ignore")
	line("")
	services := f.suggested()
	if len(f.SSH) == 0 {
		f.withoutSSH(&b, services)
		return b.String()
	}
	line("networks:")
	line("  # Where logins come from today. Add where you may come from tomorrow, such as")
	line("  # 203.0.113.0/24.")
	writeList(&b, "  "+adminNetwork+": ", sourcesOf(f.Logins))
	line("")
	line("services:")
	writeSuggested(&b, "  ", suggestion{name: "ssh", ports: f.SSH, protocols: []string{"tcp"}},
		adminNetwork)
	if len(services) > 0 {
		line("")
		writeSuggestions(&b, "  ", services, adminNetwork)
	}
	return b.String()
}

// withoutSSH writes the services of a host without an SSH server: none but suggestions.
func (f First) withoutSSH(b *strings.Builder, services []suggestion) {
	b.WriteString("services: []\n")
	if len(services) == 0 {
		return
	}
	b.WriteString("\n# To list services, remove the line above and the # before the next.\n" +
		"#services:\n")
	writeSuggestions(b, "  ", services, "private")
}

const suggestionsText = `What else listens on this host. It stays as it is until you remove the #
before the lines of a service; then only those in allow get in. allow takes
addresses, CIDRs, networks, private (RFC 1918, RFC 4193, link-local) and any
(everybody).`

// writeSuggestions writes services as comments.
func writeSuggestions(b *strings.Builder, indent string, services []suggestion, allow string) {
	for text := range strings.SplitSeq(suggestionsText, "\n") {
		b.WriteString(indent + "# " + text + "\n")
	}
	for _, s := range services {
		var service strings.Builder
		writeSuggested(&service, indent, s, allow)
		b.WriteByte('\n')
		for text := range strings.Lines(service.String()) {
			b.WriteString(indent + "#" + strings.TrimPrefix(text, indent))
		}
	}
}

// suggestion is a service that a First lists.
type suggestion struct {
	name      string
	ports     []uint16
	protocols []string
	behind    string // who listens, and where
}

// writeSuggested writes a service. Who listens stands behind its name, so that the lines stay a
// service when their # goes.
func writeSuggested(b *strings.Builder, indent string, s suggestion, allow string) {
	name := indent + "- name: " + yamlScalar(s.name)
	switch beside := name + "  # " + printable(s.behind); {
	case s.behind == "":
	case utf8.RuneCountInString(beside) < maxFirstColumns: // one more is the # of a suggestion
		name = beside
	default:
		writeWords(b, indent, printable(s.behind))
	}
	b.WriteString(name + "\n")
	var ports []string
	for _, p := range s.ports {
		ports = append(ports, strconv.Itoa(int(p)))
	}
	if len(ports) == 1 {
		b.WriteString(indent + "  port: " + ports[0] + "\n")
	} else {
		writeList(b, indent+"  port: ", ports)
	}
	if len(s.protocols) > 1 {
		writeList(b, indent+"  protocol: ", s.protocols)
	} else if s.protocols[0] != firewall.TCP.String() {
		b.WriteString(indent + "  protocol: " + s.protocols[0] + "\n")
	}
	b.WriteString(indent + "  allow: [" + allow + "]\n")
}

// maxFirstColumns is how wide the lines of a first policy get.
const maxFirstColumns = 80

// writeWords writes words as comment lines that fit, and cuts words that don't.
func writeWords(b *strings.Builder, indent, text string) {
	room := maxFirstColumns - len(indent+"## ")
	line := []rune{}
	flush := func() {
		if len(line) > 0 {
			b.WriteString(indent + "# " + string(line) + "\n")
		}
		line = line[:0]
	}
	for word := range strings.FieldsSeq(text) {
		runes := []rune(word)
		if len(line)+1+len(runes) > room {
			flush()
		}
		for ; len(runes) > room; runes = runes[room:] {
			b.WriteString(indent + "# " + string(runes[:room]) + "\n")
		}
		if len(line) > 0 {
			line = append(line, ' ')
		}
		line = append(line, runes...)
	}
	flush()
}

// suggested groups what listens into services: the ports of a program, and a port that a program
// has over several protocols.
func (f First) suggested() []suggestion {
	listening := slices.Clone(f.Listening)
	slices.SortStableFunc(listening, func(a, b Listening) int {
		return cmp.Or(cmp.Compare(a.Port.First, b.Port.First),
			cmp.Compare(a.Port.Protocol, b.Port.Protocol))
	})
	var ports []suggestion // one a port
	var programs []string
	for _, l := range listening {
		n, protocol := l.Port.First, l.Port.Protocol.String()
		if l.Port.Protocol == firewall.TCP && slices.Contains(f.SSH, n) {
			continue
		}
		i := slices.IndexFunc(ports, func(s suggestion) bool { return s.ports[0] == n })
		if i >= 0 && programs[i] == l.Program {
			if !slices.Contains(ports[i].protocols, protocol) {
				ports[i].protocols = append(ports[i].protocols, protocol)
			}
			continue
		}
		ports = append(ports, suggestion{nameOf(l), []uint16{n}, []string{protocol}, l.words()})
		programs = append(programs, l.Program)
	}
	var services []suggestion
	for i, s := range ports {
		j := slices.IndexFunc(services, func(x suggestion) bool {
			return x.behind == s.behind && slices.Equal(x.protocols, s.protocols)
		})
		if programs[i] != "" && j >= 0 && !slices.Contains(services[j].ports, s.ports[0]) {
			services[j].ports = append(services[j].ports, s.ports[0])
			if name := nameFrom(programs[i]); name != "" {
				services[j].name = name
			}
			continue
		}
		services = append(services, s)
	}
	taken := map[string]bool{"ssh": true}
	for i := range services {
		services[i].name = unique(services[i], taken)
	}
	return services
}

// unique is a name for a service that no other one has.
func unique(s suggestion, taken map[string]bool) string {
	name := s.name
	if taken[name] {
		name = fmt.Sprintf("%s-%d", s.name, s.ports[0])
	}
	if taken[name] {
		name = fmt.Sprintf("%s-%d-%s", s.name, s.ports[0], s.protocols[0])
	}
	taken[name] = true
	return name
}

// nameOf is what people call the service of a port: by its number, by its program, or neither.
func nameOf(l Listening) string {
	if name := iana.UsualName(l.Port.First); name != "" {
		return name
	}
	return cmp.Or(nameFrom(l.Program),
		fmt.Sprintf("%s-%d", l.Port.Protocol, l.Port.First))
}

// maxNameLength is the most letters of a service's name here; "-65535-sctp" may follow.
const maxNameLength = 30

// nameFrom makes the name of a service from that of a program, which may have any characters; ""
// if too little is left.
func nameFrom(program string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r >= 'A' && r <= 'Z', r == '-', r == '_':
			return r
		}
		return '-'
	}, program)
	name = strings.Trim(name[:min(len(name), maxNameLength)], "-_")
	if !namePattern.MatchString(name) || looksLikeAddress(name) {
		return ""
	}
	return name
}

// words say who listens, and where.
func (l Listening) words() string {
	who := cmp.Or(l.Program, "an unknown program")
	if l.Unit != "" && strings.TrimSuffix(l.Unit, ".service") != l.Program {
		who += " (" + l.Unit + ")"
	}
	if len(l.Addresses) == 0 {
		return who
	}
	return who + " on " + strings.Join(l.Addresses, ", ")
}
