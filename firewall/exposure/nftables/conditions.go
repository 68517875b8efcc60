package nftables

import (
	"fmt"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// Conditions are expressions that hold or not by what happened before: rates, amounts, numbers of connections. They stand in rules, in objects and on
// single elements of sets.

// conditions are what expressions attached to an element ask, one expression or a list: as text, ""
// if they only count, and the rate that they begin with, if they do.
func conditions(expr, list []byte) (string, exposure.Rate, error) {
	var words []string
	var rate exposure.Rate
	add := func(b []byte) error {
		a, err := netlink.Parse(b)
		if err != nil {
			return err
		}
		data, err := netlink.Parse(a.Bytes(unix.NFTA_EXPR_DATA))
		if err != nil {
			return err
		}
		name := a.String(unix.NFTA_EXPR_NAME)
		if text, ok := conditionText(name, &data); ok {
			if words == nil {
				rate = rateOf(name, &data)
			}
			words = append(words, text)
		}
		return nil
	}
	if expr != nil {
		if err := add(expr); err != nil {
			return "", exposure.Rate{}, err
		}
	}
	err := netlink.Each(list, func(_ uint16, data []byte) error { return add(data) })
	return strings.Join(words, " "), rate, err
}

// conditionText is a condition for people; false for counters, which ask nothing. What isn't known may ask anything.
func conditionText(name string, a *netlink.Attributes) (string, bool) {
	switch name {
	case "counter", "last":
		return "", false
	case "limit":
		return limitText(a), true
	case "quota":
		return quotaText(a), true
	case "connlimit":
		return connlimitText(a), true
	}
	return name, true
}

// rateOf is what an expression allows: a limit of packets.
func rateOf(name string, a *netlink.Attributes) exposure.Rate {
	if name != "limit" || a.Number(unix.NFTA_LIMIT_TYPE) == unix.NFT_LIMIT_PKT_BYTES {
		return exposure.Rate{}
	}
	unit := a.Number(unix.NFTA_LIMIT_UNIT) // in seconds
	if unit == 0 || unit > week {
		return exposure.Rate{}
	}
	return exposure.Rate{
		Count:  a.Number(unix.NFTA_LIMIT_RATE),
		Per:    time.Duration(unit) * time.Second,
		Burst:  a.Number(unix.NFTA_LIMIT_BURST),
		Over:   a.Number(unix.NFTA_LIMIT_FLAGS)&unix.NFT_LIMIT_F_INV != 0,
		Shared: true,
	}
}

// week is the longest unit of nft, in seconds.
const week = 7 * 24 * 3600

func limitText(a *netlink.Attributes) string {
	over := ""
	if a.Number(unix.NFTA_LIMIT_FLAGS)&unix.NFT_LIMIT_F_INV != 0 {
		over = "over "
	}
	// The unit is in seconds.
	unit := map[uint64]string{1: "second", 60: "minute", 3600: "hour", 86400: "day", 604800: "week"}[a.Number(unix.NFTA_LIMIT_UNIT)]
	if unit == "" {
		unit = fmt.Sprintf("%d seconds", a.Number(unix.NFTA_LIMIT_UNIT))
	}
	bytes := ""
	if a.Number(unix.NFTA_LIMIT_TYPE) == unix.NFT_LIMIT_PKT_BYTES {
		bytes = " bytes"
	}
	text := fmt.Sprintf("limit rate %s%d%s/%s", over, a.Number(unix.NFTA_LIMIT_RATE), bytes, unit)
	if burst := a.Number(unix.NFTA_LIMIT_BURST); burst != 0 {
		text += fmt.Sprintf(" burst %d", burst)
	}
	return text
}

func quotaText(a *netlink.Attributes) string {
	word := "until"
	if a.Number(unix.NFTA_QUOTA_FLAGS)&unix.NFT_QUOTA_F_INV != 0 {
		word = "over"
	}
	return fmt.Sprintf("quota %s %d bytes", word, a.Number(unix.NFTA_QUOTA_BYTES))
}

// connlimitText: NFTA_CONNLIMIT_COUNT 1, NFTA_CONNLIMIT_FLAGS 2 with NFT_CONNLIMIT_F_INV 1.
func connlimitText(a *netlink.Attributes) string {
	if a.Number(2)&1 != 0 {
		return fmt.Sprintf("ct count over %d", a.Number(1))
	}
	return fmt.Sprintf("ct count %d", a.Number(1))
}
