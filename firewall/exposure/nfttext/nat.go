package nfttext

import (
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure/nftjson"
	"github.com/portgrave/portgrave/firewall/iana"
)

// nat reads the translations.
func (l *lexer) nat(t token) (expr, error) {
	body := expr{}
	var flags []any
	if family, err := l.peek(); err != nil {
		return nil, err
	} else if family.is("ip", "ip6") {
		if second, err := l.familyOnly(); err != nil {
			return nil, err
		} else if second {
			body["family"] = family.text
		}
	}
	if _, err := l.accept("addr"); err != nil { // "addr . port to": the map's values decide
		return nil, err
	}
	if dotted, err := l.accept("."); err != nil {
		return nil, err
	} else if dotted {
		if err := l.expect("port"); err != nil {
			return nil, err
		}
	}
	if prefix, err := l.accept("prefix"); err != nil {
		return nil, err
	} else if prefix {
		flags = append(flags, "netmap")
	}
	if _, err := l.accept("interval"); err != nil {
		return nil, err
	}
	to, err := l.accept("to")
	switch {
	case err != nil:
	case !t.is("redirect", "masquerade"):
		err = l.endpoint(body)
	case to:
		err = l.ownPort(body)
	}
	if err != nil {
		return nil, err
	}
	for {
		f, err := l.peek()
		if err != nil {
			return nil, err
		}
		if !f.is("random", "fully-random", "persistent", ",") {
			break
		}
		if f.kind == word {
			flags = append(flags, f.text)
		}
		if _, err := l.next(); err != nil {
			return nil, err
		}
	}
	if len(flags) > 0 {
		body["flags"] = flags
	}
	if len(body) == 0 {
		return expr{t.text: nil}, nil
	}
	return expr{t.text: body}, nil
}

// familyOnly takes "ip" or "ip6" if it is the family of the translation and doesn't begin a field.
func (l *lexer) familyOnly() (bool, error) {
	family, err := l.next()
	if err != nil {
		return false, err
	}
	second, err := l.peek()
	if err != nil {
		return false, err
	}
	if second.is("to", "addr", "prefix", "interval") {
		return true, nil
	}
	l.push(family)
	return false, nil
}

// endpoint reads "10.0.0.1-10.0.0.4:80-90", "[2001:db8::1]:80", ":80", or expressions instead.
func (l *lexer) endpoint(body expr) error {
	t, err := l.next()
	if err != nil {
		return err
	}
	address, port, hasPort := "", "", false
	switch {
	case t.kind == word && t.text[0] == ':':
		port, hasPort = t.text[1:], true
	case t.is(":"):
		body["port"], err = l.key()
		return err
	case t.kind == word && t.text[0] == '[':
		if address, port, hasPort = strings.Cut(t.text, "]:"); !hasPort {
			address = strings.TrimSuffix(t.text, "]")
		}
		address = strings.NewReplacer("[", "", "]", "").Replace(address)
	case t.kind == word && strings.Count(t.text, ":") == 1:
		address, port, hasPort = strings.Cut(t.text, ":")
	case t.kind == word && isAddress(t.text):
		address = t.text
	default:
		l.push(t)
		if body["addr"], err = l.key(); err != nil {
			return err
		}
	}
	if address != "" {
		body["addr"] = nftjson.Word(address)
		if body["family"] == nil {
			body["family"] = familyOf(address)
		}
	}
	if ranged, err := l.accept("-"); err != nil {
		return err
	} else if ranged {
		return unexpected(t, "an address range without spaces")
	}
	switch {
	case hasPort && port != "" && port[0] >= '0' && port[0] <= '9':
		body["port"] = number(port)
		return nil
	case hasPort && port != "": // "10.0.0.1:tcp dport map …"
		l.push(token{word, port, t.at})
		body["port"], err = l.key()
		return err
	}
	if more, err := l.accept(":"); err != nil || !more {
		return err
	}
	body["port"], err = l.key()
	return err
}

// ownPort reads the port of a redirect: "8080", ":8080-8090", or an expression.
func (l *lexer) ownPort(body expr) error {
	t, err := l.next()
	if err != nil {
		return err
	}
	if t.is(":") {
		if t, err = l.next(); err != nil {
			return err
		}
	} else if t.kind == word && t.text[0] == ':' {
		t.text = t.text[1:]
	}
	if _, known := iana.Service(t.text); t.kind == word &&
		(known || t.text[0] >= '0' && t.text[0] <= '9') {
		body["port"] = number(t.text)
		return nil
	}
	l.push(t)
	body["port"], err = l.key()
	return err
}

// isAddress reports whether a word is an address, a range or a prefix of them.
func isAddress(s string) bool {
	return s[0] >= '0' && s[0] <= '9' || strings.Contains(s, "::") || strings.Count(s, ":") > 1
}

func familyOf(address string) any {
	if strings.Contains(address, ":") {
		return "ip6"
	}
	return "ip"
}
