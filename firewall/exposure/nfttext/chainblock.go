package nfttext

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/portgrave/portgrave/firewall"
)

// inChain reads a line of a chain.
func (s *script) inChain(c *chain, t token) error {
	var err error
	switch {
	case t.is("type"):
		return s.base(c)
	case t.is("policy"):
		c.Policy, err = s.name("a policy")
		return err
	case t.is("comment", "flags"):
		return s.line()
	case t.is("device", "devices"):
		return s.devices(c)
	case t.is("define", "redefine", "undefine", "include"):
		return s.command(t)
	}
	s.push(t)
	part, err := s.span()
	c.rules = append(c.rules, part)
	if err == nil {
		err = s.countRule(t)
	}
	return err
}

// base reads "filter hook input device "eth0" priority filter + 10".
func (s *script) base(c *chain) error {
	kind, err := s.name("a type")
	if err != nil {
		return err
	}
	if err := s.expect("hook"); err != nil {
		return err
	}
	hook, err := s.name("a hook")
	if err != nil {
		return err
	}
	c.Type, c.Hook = kind, hook
	for {
		t, err := s.next()
		if err != nil {
			return err
		}
		switch {
		case t.is("device", "devices"):
			if err := s.devices(c); err != nil {
				return err
			}
		case t.is("priority"):
			return s.priority(c)
		default:
			return unexpected(t, "a priority")
		}
	}
}

// devices reads `device "eth0"` and `devices = { eth0, eth1 }`.
func (s *script) devices(c *chain) error {
	if _, err := s.accept("="); err != nil {
		return err
	}
	t, err := s.next()
	if err != nil {
		return err
	}
	if !t.is("{") {
		if t.kind != word && t.kind != quoted {
			return unexpected(t, "a device")
		}
		c.Dev = []any{t.text}
		return nil
	}
	var list []any
	for {
		t, err := s.next()
		switch {
		case err != nil:
			return err
		case t.is("}"):
			c.Dev = list
			return nil
		case t.kind == word || t.kind == quoted:
			list = append(list, t.text)
		case t.kind == end:
			return unexpected(t, "a device")
		}
	}
}

// priorities are the names of nft(8), those of the bridge family first.
var priorities = map[bool]map[string]int{
	true: {"dstnat": -300, "filter": -200, "out": 100, "srcnat": 300},
	false: {
		"raw":      -300,
		"mangle":   -150,
		"dstnat":   -100,
		"filter":   0,
		"security": 50,
		"srcnat":   100,
	},
}

// priority reads "-10", "filter", "filter + 10".
func (s *script) priority(c *chain) error {
	var text strings.Builder
	first, err := s.peek()
	for err == nil {
		var t token
		t, err = s.peek()
		if err != nil || t.kind != word && t.kind != sign && t.kind != quoted || t.is("}") {
			break
		}
		if text.WriteString(t.text); text.Len() > 64 {
			break
		}
		_, err = s.next()
	}
	if err != nil {
		return err
	}
	name := text.String()
	number := 0
	if i := strings.IndexAny(name, "+-0123456789"); i >= 0 {
		if number, err = strconv.Atoi(strings.ReplaceAll(name[i:], "+", "")); err != nil {
			return errorAt(first.at, "%q isn't a priority", firewall.Excerpt(name))
		}
		name = name[:i]
	}
	base, ok := priorities[c.Family == "bridge"][name]
	if !ok && name != "" {
		return errorAt(first.at, "%q isn't a priority", firewall.Excerpt(name))
	}
	c.Prio = json.Number(strconv.Itoa(base + number))
	return nil
}
