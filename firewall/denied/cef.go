package denied

import (
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// CEF writes each event as one line of the Common Event Format, version 0 (ArcSight's "Implementing
// CEF"), in one Write. It adds no syslog header. version is the program's; host is the machine's
// name, and may be empty.
func CEF(w io.Writer, version, host string) func(Event) error {
	return func(e Event) error {
		_, err := io.WriteString(w, cefLine(e, version, host))
		return err
	}
}

// cefLine returns the header and the extension. In version 0, src and dst hold IPv4 addresses only;
// IPv6 addresses are in c6a2 and c6a3.
func cefLine(e Event, version, host string) string {
	kind, severity := cefKind(e)
	var b strings.Builder
	b.WriteString("CEF:0")
	header := []string{
		"Portgrave", "portgrave", version, kind, summary(e), strconv.Itoa(severity),
	}
	for _, field := range header {
		b.WriteString("|" + cefHeader.Replace(field))
	}
	b.WriteByte('|')
	separator := ""
	field := func(key, value string) {
		if value == "" {
			return
		}
		b.WriteString(separator + key + "=" + cefExtension.Replace(value))
		separator = " "
	}
	number := func(key string, value uint64) {
		if value != 0 {
			field(key, strconv.FormatUint(value, 10))
		}
	}
	labelled := func(key, label, value string) {
		if value != "" {
			field(key+"Label", label)
			field(key, value)
		}
	}
	address := func(key4, key6, label string, value netip.Addr) {
		switch {
		case value.Is4():
			field(key4, value.String())
		case value.IsValid():
			labelled(key6, label, value.String())
		}
	}
	field("rt", milliseconds(e.Last.UnixMilli()))
	field("start", milliseconds(e.Time.UnixMilli()))
	field("end", milliseconds(e.Last.UnixMilli()))
	field("dvchost", host)
	field("act", string(e.Action))
	number("cnt", e.Count)
	if e.Action != Lost {
		field("deviceDirection", "0") // inbound
	}
	address("src", "c6a2", "Source IPv6 Address", e.Source)
	number("spt", uint64(e.SourcePort))
	address("dst", "c6a3", "Destination IPv6 Address", e.Destination)
	number("dpt", uint64(e.Port))
	field("proto", strings.ToUpper(e.Protocol))
	field("deviceInboundInterface", e.Interface)
	labelled("cs1", "service", e.Service)
	labelled("cs2", "example sources", joinAddresses(e.Examples, ","))
	if e.Sources > 0 {
		labelled("cn1", "sources", strconv.FormatUint(e.Sources, 10))
	}
	if e.ICMP != nil {
		labelled("cn2", "icmp type", strconv.Itoa(int(e.ICMP.Type)))
		labelled("cn3", "icmp code", strconv.Itoa(int(e.ICMP.Code)))
	}
	b.WriteByte('\n')
	return b.String()
}

// cefKind returns the class of an event and its severity from 0 to 10: up to 3 is low, up to 6
// medium.
func cefKind(e Event) (kind string, severity int) {
	switch {
	case e.Action == Lost:
		return "lost", 5
	case e.Action == Allowed:
		return "allowed", 1
	case e.Sources > 0:
		return "flood", 5
	}
	return "denied", 3
}

func milliseconds(n int64) string { return strconv.FormatInt(n, 10) }

// Replacers that escape separators and line ends. A header can't contain a line end; the value of
// an extension has it as \n or \r.
var (
	cefHeader    = strings.NewReplacer(`\`, `\\`, `|`, `\|`, "\r\n", " ", "\n", " ", "\r", " ")
	cefExtension = strings.NewReplacer(`\`, `\\`, `=`, `\=`, "\n", `\n`, "\r", `\r`)
)
