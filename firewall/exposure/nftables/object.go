package nftables

import (
	"fmt"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// Types of objects that x/sys/unix may lack: NFT_OBJECT_* (include/uapi/linux/netfilter/nf_tables.h).
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

var objectWords = map[uint32]string{objectCounter: "counter", objectQuota: "quota", objectHelper: "ct helper", objectLimit: "limit",
	objectConnlimit: "ct count", objectTunnel: "tunnel", objectTimeout: "ct timeout", objectSecmark: "secmark",
	objectExpect: "ct expectation", objectSynproxy: "synproxy"}

// objectKey names an object: each type has names of its own.
type objectKey struct {
	kind uint32
	name string
}

// objectText is an object for people: "limit slow { rate 5/second }".
func objectText(b []byte) (objectKey, string, string, error) {
	a, err := netlink.Parse(b)
	if err != nil {
		return objectKey{}, "", "", err
	}
	k := objectKey{uint32(a.Number(unix.NFTA_OBJ_TYPE)), a.String(unix.NFTA_OBJ_NAME)}
	text := fmt.Sprintf("%s %s", objectWord(k.kind), k.name)
	data, err := netlink.Parse(a.Bytes(unix.NFTA_OBJ_DATA))
	if err != nil {
		return objectKey{}, "", "", err
	}
	switch k.kind {
	case objectQuota:
		text += " { " + quotaText(&data) + " }"
	case objectLimit:
		text += " { " + limitText(&data) + " }"
	case objectConnlimit:
		text += " { " + connlimitText(&data) + " }"
	case objectHelper:
		text += " { " + data.String(1) + " }" // NFTA_CT_HELPER_NAME
	}
	return k, text, a.String(unix.NFTA_OBJ_TABLE), nil
}

func objectWord(kind uint32) string {
	if w, ok := objectWords[kind]; ok {
		return w
	}
	return fmt.Sprintf("object of type %d", kind)
}

// objectEffect is what it means to a packet that a rule applies an object of a type to it.
//
// A quota, limit or connection count may let the rule go on or end it. Counters, helpers, timeouts and security marks change nothing about
// the way. A synproxy answers the client in the server's place, an expectation drops what it can't set up, a tunnel changes the route: these may
// do anything.
func objectEffect(kind uint32, text string) exposure.Statement {
	switch kind {
	case objectCounter, objectHelper, objectTimeout, objectSecmark:
		return exposure.NoEffect{Text: text}
	case objectQuota, objectLimit, objectConnlimit:
		return exposure.Unknown{Text: text}
	}
	return exposure.Unknown{Text: text, Effect: true}
}

func flowtableText(b []byte) (text, table string, err error) {
	a, err := netlink.Parse(b)
	if err != nil {
		return "", "", err
	}
	// NFTA_FLOWTABLE_TABLE 1, _NAME 2, _HOOK 3 with _HOOK_DEVS 3 (include/uapi/linux/netfilter/nf_tables.h).
	hook, err := netlink.Parse(a.Bytes(3))
	if err != nil {
		return "", "", err
	}
	var devices []string
	err = netlink.Each(hook.Bytes(3), func(_ uint16, data []byte) error {
		devices = append(devices, netlink.String(data))
		return nil
	})
	return fmt.Sprintf("flowtable %s { devices = { %s } }", a.String(2), strings.Join(devices, ", ")), a.String(1), err
}
