package firewall

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// Shorten is a service's name as far as a kernel object has room for it: the name itself, or its
// beginning, a "~", which no service name contains, and 40 bits of its hash. room is at least 10
// bytes.
func Shorten(name string, room int) string {
	if len(name) <= room {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	hash := strings.ToLower(base32.StdEncoding.EncodeToString(sum[:5])) // 8 characters
	return name[:room-len(hash)-1] + "~" + hash
}

// ShortLogPrefix is the prefix of a report where the kernel has room for 63 bytes: NFLOG of xtables
// (include/uapi/linux/netfilter/xt_NFLOG.h). kind is LogPrefixDenied or LogPrefixAllowed.
func ShortLogPrefix(kind, label string) string { return kind + Shorten(label, 63-len(kind)) }

// maxExcerpt is how much of a text an error shows.
const maxExcerpt = 60

// Excerpt is the beginning of a text, for an error that shows what it is about.
func Excerpt(text string) string {
	if len(text) > maxExcerpt {
		return strings.ToValidUTF8(text[:maxExcerpt], "") + "…"
	}
	return text
}
