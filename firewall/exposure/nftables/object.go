package nftables

import (
	"fmt"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/netlink"
	kernel "github.com/portgrave/portgrave/firewall/netlink/nftables"
)

// Types of objects that x/sys/unix may lack: NFT_OBJECT_*
// (include/uapi/linux/netfilter/nf_tables.h).
const (
	objectCounter   = 1
	objectQuota     = 2
	objectHelper    = 3
	objectLimit     = 4
	objectConnlimit = 5
	objectTunnel    = 6
	objectTimeout   = 7
	objectSecmark   = 8
	objectExpect    = 9
	objectSynproxy  = 10
)

var objectWords = map[uint32]string{
	objectCounter:   "counter",
	objectQuota:     "quota",
	objectHelper:    "ct helper",
	objectLimit:     "limit",
	objectConnlimit: "ct count",
	objectTunnel:    "tunnel",
	objectTimeout:   "ct timeout",
	objectSecmark:   "secmark",
	objectExpect:    "ct expectation",
	objectSynproxy:  "synproxy",
}

// objectKey names an object: each type has names of its own.
type objectKey struct {
	kind uint32
	name string
}

// object is a named object, as its text for people and, if it limits packets, its rate.
type object struct {
	text string
	rate exposure.Rate
}

// objectText is an object for people: "limit slow { rate 5/second }".
func objectText(o kernel.Object) string {
	text := fmt.Sprintf("%s %s", objectWord(o.Type), o.Name)
	if asks, ok := conditionText(o.Expr); ok && asks != "" {
		return text + " { " + asks + " }"
	}
	if helper, ok := o.Expr.(kernel.Unknown); ok && o.Type == objectHelper {
		data, _ := netlink.Parse([]byte(helper.Data))
		text += " { " + data.String(1) + " }" // NFTA_CT_HELPER_NAME
	}
	return text
}

func objectWord(kind uint32) string {
	if w, ok := objectWords[kind]; ok {
		return w
	}
	return fmt.Sprintf("object of type %d", kind)
}

// objectEffect is what it means to a packet that a rule applies an object of a type to it.
//
// A quota, limit or connection count may let the rule go on or end it. Counters, helpers, timeouts
// and security marks change nothing about the way. A synproxy answers the client in the server's
// place, an expectation drops what it can't set up, a tunnel changes the route: these may do
// anything.
func objectEffect(kind uint32, o object) exposure.Statement {
	switch kind {
	case objectCounter, objectHelper, objectTimeout, objectSecmark:
		return exposure.NoEffect{Text: o.text}
	case objectQuota, objectLimit, objectConnlimit:
		return exposure.Unknown{Text: o.text, Rate: o.rate}
	}
	return exposure.Unknown{Text: o.text, Effect: true}
}

func flowtableText(f kernel.Flowtable) string {
	return fmt.Sprintf("flowtable %s { devices = { %s } }", f.Name, strings.Join(f.Devices, ", "))
}
