package nfttext

import (
	"strconv"

	"github.com/portgrave/portgrave/firewall/exposure/nftjson"
)

// inSet reads a line of a set.
func (s *script) inSet(x *set, t token) error {
	switch {
	case t.is("type"):
		return s.setType(x)
	case t.is("typeof"):
		return s.setTypeof(x)
	case t.is("flags"):
		flags, err := s.flags()
		x.Flags = flags
		return err
	case t.is("size"):
		n, err := s.integer("a size")
		x.Size, _ = strconv.Atoi(n.String())
		return err
	case t.is("timeout", "gc-interval", "policy", "comment", "auto-merge"):
		return s.line()
	case t.is("elements"):
		if err := s.expect("="); err != nil {
			return err
		}
		part, err := s.span()
		x.elements = append(x.elements, part)
		return err
	case t.is("counter", "limit", "quota", "ct", "last"):
		s.push(t)
		part, err := s.span()
		if err != nil {
			return err
		}
		var r nftjson.Rule
		s.part(part).rule(&r)
		x.Stmt = append(x.Stmt, r.Expr...)
		return nil
	}
	return unexpected(t, "a part of a set")
}

// setType reads "ipv4_addr . inet_service : verdict".
func (s *script) setType(x *set) error {
	var sides [2]string
	side := 0
	for {
		t, err := s.peek()
		if err != nil {
			return err
		}
		switch {
		case t.is(":") && side == 0:
			side = 1
		case t.is("."):
			sides[side] += " . "
		case t.kind == word && t.text != "interval":
			sides[side] += t.text
		case t.kind != word:
			x.Type = sides[0]
			if side == 1 {
				x.Map = sides[1]
			}
			return nil
		}
		if _, err := s.next(); err != nil {
			return err
		}
	}
}

// setTypeof reads "ip saddr . tcp dport : verdict". Unknown expressions give a set without a model.
func (s *script) setTypeof(x *set) error {
	part, err := s.span()
	if err != nil {
		return err
	}
	l := s.part(part)
	x.Type = expr{nftjson.Unparsed: s.text[part.from:part.to]}
	key, err := l.tuple()
	if err != nil {
		return nil
	}
	mapped, err := l.accept(":")
	if err != nil {
		return nil
	}
	if mapped {
		if _, err := l.accept("interval"); err != nil {
			return nil
		}
		data, err := l.tuple()
		if err != nil {
			return nil
		}
		if x.Map = (expr{"typeof": data}); data == any(nftjson.Word("verdict")) {
			x.Map = "verdict"
		}
	}
	if t, err := l.peek(); err == nil && t.kind == end {
		x.Type = expr{"typeof": key}
	}
	return nil
}
