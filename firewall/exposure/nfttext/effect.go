package nfttext

import (
	"encoding/json"
	"slices"
	"strings"
)

// effects are the statements that begin with a word of their own.
var effects map[string]func(*lexer, token) (expr, error)

func init() { // the table and its readers refer to each other
	effects = map[string]func(*lexer, token) (expr, error){
		"counter":    (*lexer).counter,
		"last":       (*lexer).last,
		"log":        (*lexer).log,
		"limit":      (*lexer).limit,
		"quota":      (*lexer).quota,
		"reject":     (*lexer).reject,
		"queue":      (*lexer).toQueue,
		"notrack":    func(*lexer, token) (expr, error) { return expr{"notrack": nil}, nil },
		"snat":       (*lexer).nat,
		"dnat":       (*lexer).nat,
		"masquerade": (*lexer).nat,
		"redirect":   (*lexer).nat,
		"tproxy":     (*lexer).nat,
		"dup":        (*lexer).dupOrForward,
		"fwd":        (*lexer).dupOrForward,
		"flow":       (*lexer).flow,
		"add":        (*lexer).update,
		"update":     (*lexer).update,
		"delete":     (*lexer).update,
		"meter":      (*lexer).meter,
		"xt":         (*lexer).xt,
		"reset":      (*lexer).resetOption,
	}
}

// named reads `name "x"`, or `name ip saddr map @names`.
func (l *lexer) named() (name string, ok bool, err error) {
	if ok, err = l.accept("name"); !ok || err != nil {
		return "", ok, err
	}
	t, err := l.peek()
	if err != nil {
		return "", true, err
	}
	field := headerFields[t.text] != nil || primaries[t.text] != nil ||
		slices.Contains(unqualified, t.text)
	if t.kind == word && field {
		_, err = l.key()
		return "of a map", true, err
	}
	name, err = l.name("a name")
	return name, true, err
}

func (l *lexer) counter(token) (expr, error) {
	name, ok, err := l.named()
	if err != nil || ok {
		return expr{"counter": name}, err
	}
	for {
		t, err := l.peek()
		if err != nil || !t.is("packets", "bytes") {
			return expr{"counter": nil}, err
		}
		if _, err := l.next(); err != nil {
			return nil, err
		}
		if _, err := l.integer("a number"); err != nil {
			return nil, err
		}
	}
}

func (l *lexer) last(token) (expr, error) {
	used, err := l.accept("used")
	if err == nil && used {
		_, err = l.name("a time")
	}
	return expr{"last": nil}, err
}

func (l *lexer) log(token) (expr, error) {
	body := expr{}
	for {
		t, err := l.peek()
		if err != nil {
			return nil, err
		}
		if !t.is("prefix", "level", "group", "snaplen", "queue-threshold", "flags") {
			break
		}
		if _, err := l.next(); err != nil {
			return nil, err
		}
		v, err := l.name("a value")
		if err != nil {
			return nil, err
		}
		if t.text == "flags" && (v == "tcp" || v == "ip") {
			if v, err = l.name("what to log"); err != nil {
				return nil, err
			}
			for {
				if more, err := l.accept(","); err != nil {
					return nil, err
				} else if !more {
					break
				}
				if _, err := l.name("what to log"); err != nil {
					return nil, err
				}
			}
		}
		body[t.text] = v
	}
	if len(body) == 0 {
		return expr{"log": nil}, nil
	}
	return expr{"log": body}, nil
}

// limit reads `limit rate over 10 mbytes/second burst 5 packets`.
func (l *lexer) limit(token) (expr, error) {
	name, ok, err := l.named()
	if err != nil || ok {
		return expr{"limit": name}, err
	}
	if err := l.expect("rate"); err != nil {
		return nil, err
	}
	body := expr{}
	if over, err := l.accept("over"); err != nil {
		return nil, err
	} else if over {
		body["inv"] = true
	} else if _, err := l.accept("until"); err != nil { // the default
		return nil, err
	}
	amount, err := l.name("a rate")
	if err != nil {
		return nil, err
	}
	number, per, ok := strings.Cut(amount, "/")
	if !ok {
		unit, err := l.name("a unit of the rate")
		if err != nil {
			return nil, err
		}
		unit, per, ok = strings.Cut(unit, "/")
		body["rate_unit"] = unit
	}
	if per == "" && ok { // "5 / second"
		per, err = l.name("a unit of time")
	}
	if !ok || err != nil || !isNumber(number) {
		return nil, unexpected(token{word, amount, l.pos}, "a rate")
	}
	body["rate"], body["per"] = json.Number(number), per
	if burst, err := l.accept("burst"); err != nil {
		return nil, err
	} else if burst {
		if body["burst"], err = l.integer("a number"); err != nil {
			return nil, err
		}
		if _, err := l.accept("packets", "bytes", "kbytes", "mbytes"); err != nil {
			return nil, err
		}
	}
	return expr{"limit": body}, nil
}

func (l *lexer) quota(token) (expr, error) {
	name, ok, err := l.named()
	if err != nil || ok {
		return expr{"quota": name}, err
	}
	body := expr{}
	t, err := l.peek()
	if err == nil && t.is("over", "until") {
		if t.text == "over" {
			body["inv"] = true
		}
		_, err = l.next()
	}
	if err == nil {
		body["val"], err = l.integer("a number")
	}
	if err == nil {
		body["val_unit"], err = l.name("a unit")
	}
	if err != nil {
		return nil, err
	}
	if used, err := l.accept("used"); err != nil {
		return nil, err
	} else if used {
		if _, err := l.integer("a number"); err != nil {
			return nil, err
		}
		if _, err := l.name("a unit"); err != nil {
			return nil, err
		}
	}
	return expr{"quota": body}, nil
}

// reject reads `reject with icmpx type admin-prohibited`, `reject with tcp reset`.
func (l *lexer) reject(token) (expr, error) {
	with, err := l.accept("with")
	if err != nil || !with {
		return expr{"reject": nil}, err
	}
	kind, err := l.name("an answer")
	if err != nil {
		return nil, err
	}
	switch kind {
	case "tcp":
		return expr{"reject": expr{"type": "tcp reset"}}, l.expect("reset")
	case "icmp", "icmpv6", "icmpx":
	default:
		return nil, unexpected(token{word, kind, l.pos}, "icmp, icmpv6, icmpx or tcp reset")
	}
	if _, err := l.accept("type", "code"); err != nil {
		return nil, err
	}
	code, err := l.name("an ICMP error")
	return expr{"reject": expr{"type": kind, "expr": code}}, err
}

func (l *lexer) toQueue(token) (expr, error) {
	body := expr{}
	for {
		t, err := l.peek()
		if err != nil {
			return nil, err
		}
		if !t.is("num", "to", "flags", "bypass", "fanout", ",") {
			break
		}
		if _, err := l.next(); err != nil {
			return nil, err
		}
		switch t.text {
		case "num":
			body["num"], err = l.interval()
		case "to":
			body["num"], err = l.key()
		case "flags":
			_, err = l.name("a flag")
		}
		if err != nil {
			return nil, err
		}
	}
	if len(body) == 0 {
		return expr{"queue": nil}, nil
	}
	return expr{"queue": body}, nil
}

// dupOrForward reads `dup to 10.0.0.1 device "eth0"` and `fwd ip to …`.
func (l *lexer) dupOrForward(t token) (expr, error) {
	if _, err := l.accept("ip", "ip6"); err != nil {
		return nil, err
	}
	if err := l.expect("to"); err != nil {
		return nil, err
	}
	to, err := l.key()
	if err != nil {
		return nil, err
	}
	if device, err := l.accept("device"); err != nil {
		return nil, err
	} else if device {
		if to, err = l.key(); err != nil {
			return nil, err
		}
	}
	return expr{t.text: expr{"dev": to}}, nil
}

func (l *lexer) flow(token) (expr, error) {
	op, err := l.name("add")
	if err != nil {
		return nil, err
	}
	name, err := l.name("a flowtable")
	return expr{"flow": expr{"op": op, "flowtable": name}}, err
}

func (l *lexer) xt(token) (expr, error) {
	kind, err := l.name("match or target")
	if err != nil {
		return nil, err
	}
	name, err := l.name("an extension's name")
	return expr{"xt": expr{"type": kind, "name": name}}, err
}

func (l *lexer) resetOption(token) (expr, error) {
	option, err := l.operand(0)
	return expr{"reset": option}, err
}
