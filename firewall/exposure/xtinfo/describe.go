package xtinfo

import (
	"fmt"
	"strings"
)

// descriptions are the texts of matches that become Unknown.
var descriptions = map[key]struct {
	size int
	text func(b fields) string
}{
	// struct xt_rateinfo { u32 avg, burst; … }: avg is in ten-thousandths of a second between
	// packets (XT_LIMIT_SCALE).
	{"limit", 0}: {8, func(b fields) string {
		return fmt.Sprintf("limit one in %gs burst %d", float64(b.u32(0))/10000, b.u32(4))
	}},
	// struct xt_recent_mtinfo { u32 seconds, hit_count; u8 check_set, invert; char name[200]; u8
	// side }; _v1 is longer at the end.
	{"recent", 0}: {211, recentText}, {"recent", 1}: {211, recentText},
	// struct xt_owner_match_info { u32 uid_min, uid_max, gid_min, gid_max; u8 match, invert }.
	{"owner", 1}: {18, func(b fields) string {
		var words []string
		if b.bit(16, 0) {
			words = append(words, fmt.Sprintf("uid %d-%d", b.u32(0), b.u32(4)))
		}
		if b.bit(16, 1) {
			words = append(words, fmt.Sprintf("gid %d-%d", b.u32(8), b.u32(12)))
		}
		return "owner " + strings.Join(words, " ")
	}},
	// struct ip6t_rt { u32 rt_type, segsleft[2], hdrlen; u8 flags, invflags; … }.
	{"rt", 0}: {18, func(b fields) string {
		switch {
		case !b.bit(16, 0): // IP6T_RT_TYP
			return "routing header"
		case b.bit(17, 0):
			return fmt.Sprintf("routing header not of type %d", b.u32(0))
		}
		return fmt.Sprintf("routing header of type %d", b.u32(0))
	}},
	// struct xt_string_info { u16 from, to; char algo[16], pattern[128]; u8 patlen; … }.
	{"string", 1}: {
		149,
		func(b fields) string { return fmt.Sprintf("string %q", b[20:20+min(int(b.u8(148)), 128)]) },
	},
	// struct xt_quota_info { u32 flags; u64 quota; … }.
	{"quota", 0}: {
		16, func(b fields) string { return fmt.Sprintf("quota %d bytes", b.u64(8)) },
	},
	{"hashlimit", 3}: {298, hashlimitText},
	// struct xt_connlimit_info { union nf_inet_addr mask; u32 limit, flags; … }.
	{"connlimit", 1}: {24, func(b fields) string { return fmt.Sprintf("connlimit %d", b.u32(16)) }},
}

// The modes of hashlimit, XT_HASHLIMIT_* (xt_hashlimit.h).
const (
	hashlimitDest = 1 << iota
	hashlimitDestPort
	hashlimitSource
	hashlimitSourcePort
	hashlimitInvert
	hashlimitBytes
	hashlimitRateMatch
)

// hashlimitText: struct xt_hashlimit_mtinfo3 { char name[255]; struct hashlimit_cfg3 { u64 avg,
// burst; u32 mode, size, max, gc_interval, expire, interval; u8 srcmask, dstmask } }. avg is in
// millionths of a second between packets (XT_HASHLIMIT_SCALE_v2), unless mode counts bytes or looks
// at the rate.
func hashlimitText(b fields) string {
	text, mode := fmt.Sprintf("hashlimit %q", b.text(0, 255)), b.u32(272)
	if mode&(hashlimitBytes|hashlimitRateMatch) == 0 {
		text += fmt.Sprintf(" one in %gs burst %d", float64(b.u64(256))/1e6, b.u64(264))
	}
	if mode&hashlimitInvert != 0 {
		text += " over"
	}
	for _, m := range []struct {
		bit  uint32
		word string
	}{
		{hashlimitSource, "source"},
		{hashlimitSourcePort, "source port"},
		{hashlimitDest, "destination"},
		{hashlimitDestPort, "port"},
	} {
		if mode&m.bit != 0 {
			text += " per " + m.word
		}
	}
	return text
}

// recentVerb is what the match does: XT_RECENT_CHECK, SET, UPDATE, REMOVE, a bit each.
func recentVerb(b fields) string {
	verb := "check"
	for i, v := range []string{"check", "set", "update", "remove"} {
		if b.bit(8, i) {
			verb = v
		}
	}
	return verb
}

func recentText(b fields) string {
	text := fmt.Sprintf("recent %s %q", recentVerb(b), b.text(10, 200))
	if s := b.u32(0); s != 0 {
		text += fmt.Sprintf(" seconds %d", s)
	}
	if n := b.u32(4); n != 0 {
		text += fmt.Sprintf(" hitcount %d", n)
	}
	return text
}

// prefixText is what a log line begins with: struct xt_log_info { u8 level, logflags; char
// prefix[30] }; struct xt_nflog_info { u32 len; u16 group, threshold, flags, pad; char prefix[64]
// }.
func prefixText(i Info) string {
	prefix := ""
	switch {
	case i.Name == "LOG" && len(i.Data) >= 32:
		prefix = cString(i.Data[2:32])
	case i.Name == "NFLOG" && len(i.Data) >= 76:
		prefix = cString(i.Data[12:76])
	}
	if prefix == "" {
		return ""
	}
	return fmt.Sprintf(" prefix %q", prefix)
}
