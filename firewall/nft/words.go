package nft

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// words is how a rule is shown: as nft text if we wrote it, else by its expressions.
func (r rule) words() string {
	if r.text != "" {
		return r.text
	}
	return "[" + r.canon + "]"
}

// String is how nft writes the verdict.
func (v verdict) String() string {
	switch v.code {
	case unix.NFT_GOTO:
		return "goto " + v.chain
	case unix.NFT_JUMP:
		return "jump " + v.chain
	case unix.NFT_RETURN:
		return "return"
	case 0: // NF_DROP
		return "drop"
	case 1: // NF_ACCEPT
		return "accept"
	}
	return fmt.Sprintf("verdict %d", v.code)
}

// serviceOf is the service that an object's name belongs to, "" if none: "svc/NAME/…".
func serviceOf(name string) string {
	rest, ours := strings.CutPrefix(name, "svc/")
	if !ours {
		return ""
	}
	service, _, _ := strings.Cut(rest, "/")
	return service
}
