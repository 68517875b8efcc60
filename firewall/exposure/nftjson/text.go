package nftjson

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// ruleText writes a rule as nft does, for people. Statements that it doesn't know stay JSON.
func ruleText(statements []map[string]any) string {
	out := make([]string, len(statements))
	for i, s := range statements {
		out[i] = text(s)
	}
	return strings.Join(out, " ")
}

// text writes a statement or an expression.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case Word:
		return string(v)
	case json.Number:
		return v.String()
	case bool:
		if v {
			return "exists"
		}
		return "missing"
	case []any:
		return list(v, ",")
	case map[string]any:
		if len(v) == 1 {
			for name, body := range v {
				if s, ok := phrase(name, body); ok {
					return s
				}
			}
		}
	}
	b, _ := json.Marshal(v)
	return string(b)
}

func list(v []any, separator string) string {
	out := make([]string, len(v))
	for i, x := range v {
		out[i] = text(x)
	}
	return strings.Join(out, separator)
}

// phrase writes {name: body}.
func phrase(name string, body any) (string, bool) {
	args, isObject := body.(map[string]any)
	items, isList := body.([]any)
	switch name {
	case "accept", "drop", "continue", "return", "notrack", "masquerade", "redirect", "log",
		"reject", "queue", "last", "counter":
		if body == nil {
			return name, true
		}
	}
	switch name {
	case Unparsed:
		return text(body), true
	case "jump", "goto":
		return name + " " + text(args["target"]), isObject
	case "match":
		return matchText(args), isObject
	case "payload":
		if args["protocol"] != nil {
			return words(text(args["tunnel"]), text(args["protocol"]), text(args["field"])), true
		}
		return fmt.Sprintf(
			"@%s,%s,%s", text(args["base"]), text(args["offset"]), text(args["len"]),
		), isObject
	case "meta":
		return strings.TrimPrefix(
			"meta "+text(args["key"]), omittedPrefix(text(args["key"])),
		), isObject
	case "ct":
		return words("ct", text(args["dir"]), text(args["family"]), text(args["key"])), isObject
	case "fib":
		return fmt.Sprintf(
			"fib %s %s", list(listOf(args["flags"]), " . "), text(args["result"]),
		), isObject
	case "prefix":
		return text(args["addr"]) + "/" + text(args["len"]), isObject
	case "range":
		return list(items, "-"), isList
	case "concat":
		return list(items, " . "), isList
	case "&", "|", "^", "<<", ">>":
		return list(items, " "+name+" "), isList
	case "set":
		if isObject {
			return fmt.Sprintf(
				"%s %s { %s }", text(args["op"]), text(args["set"]),
				words(text(args["elem"]), list(listOf(args["stmt"]), " ")),
			), true
		}
		return "{ " + pairs(listOf(body)) + " }", true
	case "vmap":
		return fmt.Sprintf("%s vmap %s", text(args["key"]), text(args["data"])), isObject
	case "map":
		if args["op"] != nil {
			return fmt.Sprintf(
				"%s %s { %s : %s }", text(args["op"]), text(args["map"]), text(args["elem"]),
				text(args["data"]),
			), true
		}
		return fmt.Sprintf("%s map %s", text(args["key"]), text(args["data"])), isObject
	case "elem":
		return words(
			text(args["val"]), option(args, "timeout", "s"), option(args, "expires", "s"),
		), isObject
	case "mangle":
		return fmt.Sprintf("%s set %s", text(args["key"]), text(args["value"])), isObject
	case "counter":
		if s, ok := body.(string); ok {
			return "counter name " + s, true
		}
		return "counter", true
	case "limit", "quota":
		if s, ok := body.(string); ok {
			return name + " name " + s, true
		}
		return amountText(name, args), isObject
	case "tcp option", "ip option", "exthdr", "sctp chunk", "dccp option", "socket", "rt", "osf":
		return words(
			strings.TrimPrefix(name, "exthdr"), text(args["name"]), text(args["field"]),
			text(args["key"]),
		), isObject
	case "xt":
		return words("xt", text(args["type"]), text(args["name"])), isObject
	case "jhash":
		return fmt.Sprintf("jhash %s mod %s", text(args["expr"]), text(args["mod"])), isObject
	case "fwd":
		return words("fwd to", text(args["dev"])), isObject
	case "ct helper", "ct timeout", "ct expectation":
		return words(name, "set", text(body)), !isObject
	case "snat", "dnat", "masquerade", "redirect", "tproxy":
		return natText(name, args), isObject
	case "reject":
		return words("reject with", text(args["type"]), text(args["expr"])), isObject
	case "log":
		return words(
			"log", option(args, "prefix", ""), option(args, "group", ""), option(args, "level", ""),
		), isObject
	case "queue":
		return words("queue", option(args, "num", ""), list(listOf(args["flags"]), ",")), isObject
	case "ct count":
		if args["inv"] == true {
			return "ct count over " + text(args["val"]), true
		}
		return "ct count " + text(args["val"]), isObject
	case "numgen":
		return fmt.Sprintf("numgen %s mod %s", text(args["mode"]), text(args["mod"])), isObject
	case "meter":
		return fmt.Sprintf(
			"meter %s { %s %s }", text(args["name"]), text(args["key"]), text(args["stmt"]),
		), isObject
	}
	return "", false
}

// Unparsed names a statement known only by its text: {Unparsed: "text"}. It may do anything.
const Unparsed = "unparsed"

func words(list ...string) string {
	return strings.Join(slices.DeleteFunc(list, func(s string) bool { return s == "" }), " ")
}

func option(args map[string]any, name, unit string) string {
	if args[name] == nil {
		return ""
	}
	s := text(args[name])
	if name == "prefix" {
		s = fmt.Sprintf("%q", s)
	}
	return name + " " + s + unit
}

// omittedPrefix is the "meta " that nft omits before some keys.
func omittedPrefix(key string) string {
	switch key {
	case "iif", "oif", "iifname", "oifname", "iifgroup", "oifgroup":
		return "meta "
	}
	return ""
}

func matchText(args map[string]any) string {
	op := text(args["op"])
	if op == "==" || op == "in" {
		op = ""
	}
	left := text(args["left"])
	if m, ok := args["left"].(map[string]any); ok && op == "" &&
		(m["&"] != nil || m["|"] != nil || m["^"] != nil) {
		op = "=="
	}
	return words(left, op, text(args["right"]))
}

// pairs writes the elements of a set or map.
func pairs(elements []any) string {
	out := make([]string, len(elements))
	for i, e := range elements {
		if pair, ok := e.([]any); ok && len(pair) == 2 {
			out[i] = text(pair[0]) + " : " + text(pair[1])
		} else {
			out[i] = text(e)
		}
	}
	return strings.Join(out, ", ")
}

func natText(name string, args map[string]any) string {
	to := text(args["addr"])
	if args["port"] != nil {
		if strings.Contains(to, ":") && !strings.Contains(to, " ") {
			to = "[" + to + "]"
		}
		to += ":" + text(args["port"])
	}
	if to != "" {
		to = "to " + to
	}
	return words(name, text(args["family"]), to, list(listOf(args["flags"]), ","))
}

// amountText writes a limit or a quota.
func amountText(name string, args map[string]any) string {
	over := ""
	if args["inv"] == true {
		over = "over"
	}
	if name == "quota" {
		return words("quota", over, text(args["val"]), text(args["val_unit"]))
	}
	unit := text(args["rate_unit"])
	if unit == "packets" {
		unit = ""
	}
	if unit != "" {
		unit = " " + unit
	}
	return words(
		"limit rate", over, text(args["rate"])+unit+"/"+text(args["per"]),
		option(args, "burst", ""),
	)
}
