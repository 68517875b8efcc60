package xtmatch

// WritesHeader reports whether a target that leaves a packet's way alone writes to its IP header.
func WritesHeader(target string) bool {
	switch target {
	case "TOS", "DSCP", "ECN", "TTL", "HL":
		return true
	}
	return false
}
