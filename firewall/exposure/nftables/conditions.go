package nftables

import (
	"fmt"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall/exposure"
	kernel "github.com/portgrave/portgrave/firewall/netlink/nftables"
	"golang.org/x/sys/unix"
)

// Conditions are expressions that hold or not by what happened before: rates, amounts, numbers of
// connections. They stand in rules, in objects and on single elements of sets.

// conditions are what expressions attached to an element ask, as text, "" if they only count, and
// the rate that they begin with, if they do.
func conditions(exprs []kernel.Expr) (string, exposure.Rate) {
	var words []string
	var rate exposure.Rate
	for _, e := range exprs {
		if e == nil { // of Dynset, which may have fewer
			continue
		}
		if text, ok := conditionText(e); ok {
			if words == nil {
				rate = rateOf(e)
			}
			words = append(words, text)
		}
	}
	return strings.Join(words, " "), rate
}

// conditionText is a condition for people; false for counters, which ask nothing. What isn't known
// may ask anything.
func conditionText(e kernel.Expr) (string, bool) {
	switch e := e.(type) {
	case kernel.Counter, kernel.Last:
		return "", false
	case kernel.Limit:
		return limitText(e), true
	case kernel.Quota:
		return quotaText(e), true
	case kernel.Connlimit:
		return connlimitText(e), true
	}
	return e.Name(), true
}

// rateOf is what an expression allows: a limit of packets.
func rateOf(e kernel.Expr) exposure.Rate {
	l, ok := e.(kernel.Limit)
	if !ok || l.Type == unix.NFT_LIMIT_PKT_BYTES || l.Unit == 0 || l.Unit > week {
		return exposure.Rate{}
	}
	return exposure.Rate{
		Count:  l.Rate,
		Per:    time.Duration(l.Unit) * time.Second,
		Burst:  uint64(l.Burst),
		Over:   l.Flags&unix.NFT_LIMIT_F_INV != 0,
		Shared: true,
	}
}

// week is the longest unit of nft, in seconds.
const week = 7 * 24 * 3600

func limitText(l kernel.Limit) string {
	over := ""
	if l.Flags&unix.NFT_LIMIT_F_INV != 0 {
		over = "over "
	}
	// The unit is in seconds.
	unit := map[uint64]string{1: "second", 60: "minute", 3600: "hour", 86400: "day", 604800: "week"}[l.Unit]
	if unit == "" {
		unit = fmt.Sprintf("%d seconds", l.Unit)
	}
	bytes := ""
	if l.Type == unix.NFT_LIMIT_PKT_BYTES {
		bytes = " bytes"
	}
	text := fmt.Sprintf("limit rate %s%d%s/%s", over, l.Rate, bytes, unit)
	if l.Burst != 0 {
		text += fmt.Sprintf(" burst %d", l.Burst)
	}
	return text
}

func quotaText(q kernel.Quota) string {
	word := "until"
	if q.Flags&unix.NFT_QUOTA_F_INV != 0 {
		word = "over"
	}
	return fmt.Sprintf("quota %s %d bytes", word, q.Bytes)
}

func connlimitText(c kernel.Connlimit) string {
	const inverted = 1 // NFT_CONNLIMIT_F_INV
	if c.Flags&inverted != 0 {
		return fmt.Sprintf("ct count over %d", c.Count)
	}
	return fmt.Sprintf("ct count %d", c.Count)
}
