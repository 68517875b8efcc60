package policy

import (
	"fmt"
	"strings"
	"testing"
)

// TestExtentsInColumns checks that a column which may be the end, the size, the length or the mask
// of a range is never passed over: half a range in except lets the others in.
func TestExtentsInColumns(t *testing.T) {
	fits := func(line int, first, second string, column int) string {
		return fmt.Sprintf(`list:%d:1: "%s" and "%s" stand in one line, and column %d may be the `+
			"end or the size of a range, as it fits in each line; write ranges as FIRST-LAST or "+
			"as CIDRs, and otherwise the first column alone", line, first, second, column)
	}
	in := func(line int, second, hint string) string {
		return fmt.Sprintf(`list:%d:1: "192.0.2.0" and "%s" stand in one line; %s`, line, second, hint)
	}
	const (
		whole = "write the range as 192.0.2.0-192.0.2.255"
		cidr  = "write 192.0.2.0/24"
	)
	anyOf := "write one entry a line, a range as FIRST-LAST, and delete other columns with addresses"
	for content, want := range map[string]string{
		// Ends.
		"start,end\n192.0.2.0,3221226239\n": in(2, "3221226239", whole),
		"von;bis\n192.0.2.0;192.0.2.255\n":  in(2, "192.0.2.255", whole),
		"start,end\n192.0.2.0,255\n":        in(2, "255", anyOf),
		"192.0.2.0,3221226239\n":            fits(1, "192.0.2.0", "3221226239", 2),
		"ip,x\n192.0.2.0,3221226239\n":      fits(2, "192.0.2.0", "3221226239", 2),
		"2001:db8::,42540766411282592856903984951653826560\n": strings.Replace(
			fits(1, "2001:db8::", "42540766411282592856903984951653826560", 2), "x", "x", 1),

		// Sizes.
		"192.0.2.0,256,DE\n": fits(1, "192.0.2.0", "256", 2),
		"192.0.2.8,8\n198.51.0.0,512\n": `list:1:1: "192.0.2.8" and "8" stand in one line, and ` +
			strings.SplitN(fits(1, "", "", 2), ", and ", 2)[1],
		"192.0.2.0,768\n":            fits(1, "192.0.2.0", "768", 2),
		"start,count\n192.0.2.0,256": in(2, "256", anyOf),
		"ip,size\n192.0.2.0,100":     in(2, "100", anyOf),
		"192.0.2.0,256 hosts\n":      in(1, "256 hosts", whole),
		"192.0.2.0;256 IPs;x\n":      in(1, "256 IPs", whole),

		// Lengths and masks.
		"net,bits\n192.0.2.0,24 bits\n":        in(2, "24 bits", cidr),
		"192.0.2.0,24 bits\n":                  in(1, "24 bits", cidr),
		"net,mask\n192.0.2.0,0xffffff00\n":     in(2, "0xffffff00", cidr),
		"192.0.2.0\t0xFFFFFF00\n":              in(1, "0xFFFFFF00", cidr),
		"net,mask\n192.0.2.0,ffffff00\n":       in(2, "ffffff00", cidr),
		"net,country,mask\n192.0.2.0,DE,a24\n": in(2, "a24", anyOf),
		"192.0.2.0,0.0.0.255\n":                in(1, "0.0.0.255", cidr),

		// Other words for the end, and columns without one.
		"ip,country,x\n192.0.2.0,DE,192.0.2.255\n":           fits(2, "192.0.2.0", "192.0.2.255", 3),
		"ip,x\n192.0.2.7,192.0.2.7\n192.0.2.0,192.0.2.255\n": fits(3, "192.0.2.0", "192.0.2.255", 2),
		"\"192.0.2.0\",\"x # y\",192.0.2.255\n": strings.Replace(
			in(1, "192.0.2.255", anyOf), "1:1", "1:2", 1),

		// Other spellings.
		"192.0.2.0,'192.0.2.255'\n":    in(1, "'192.0.2.255'", anyOf),
		"192.0.2.0,192.000.002.255\n":  in(1, "192.000.002.255", anyOf),
		"192.0.2.0,192.0.2.255 (DE)\n": in(1, "192.0.2.255 (DE)", anyOf),
		"192.0.2.0,192.0.2.*\n":        in(1, "192.0.2.*", anyOf),
		"192.0.2.0,-192.0.2.255\n":     in(1, "-192.0.2.255", anyOf),
		"192.0.2.0,/255.255.255.0\n":   in(1, "/255.255.255.0", cidr),
		"192.0.2.0/24,<203.0.113.9>\n": `list:1:1: "192.0.2.0/24" and "<203.0.113.9>" stand in ` +
			"one line; " + anyOf,
		"192.0.2.0/24,(192.0.2.255)\n":          "192.0.2.0/24",
		"192.0.2.0,24.0\n":                      in(1, "24.0", cidr),
		"192.0.2.0,ffffff00\n":                  in(1, "ffffff00", cidr),
		"192.0.2.0,256.0\n":                     fits(1, "192.0.2.0", "256.0", 2),
		"192.0.2.0,\"1,024\"\n":                 fits(1, "192.0.2.0", "1,024", 2),
		"192.0.2.0,255\n":                       fits(1, "192.0.2.0", "255", 2),
		"192.0.2.0,.255\n":                      fits(1, "192.0.2.0", ".255", 2),
		"192.0.2.0,DE,256\n":                    fits(1, "192.0.2.0", "256", 3),
		"ip,x\n192.0.2.0,192.0.2.0/24\n":        fits(2, "192.0.2.0", "192.0.2.0/24", 2),
		"ip,x\n192.0.2.0,192.0.2.0-192.0.2.9\n": fits(2, "192.0.2.0", "192.0.2.0-192.0.2.9", 2),

		// What is no range.
		"192.0.2.7,DE,1764550000\n192.0.2.9,DE,1764550000\n": "192.0.2.7/32 192.0.2.9/32",
		"ip,x\n192.0.2.7,192.0.2.0/24\n":                     "192.0.2.7/32",
		"ip,x\n192.0.2.7,203.0.113.9\n192.0.2.5,192.0.2.1\n": "192.0.2.5/32 192.0.2.7/32",
		"ip,gateway\n192.0.2.7,203.0.113.9\n":                "192.0.2.7/32",
		"client_ip,score\n192.0.2.8,8\n":                     "192.0.2.8/32",
		"ip,asn\n192.0.2.0,64512\n":                          "192.0.2.0/32",
		"ip,last\n192.0.2.7,2026-01-01\n":                    "192.0.2.7/32",
		"ip,mask\n192.0.2.9,32\n":                            "192.0.2.9/32",
		"ip,last_seen\n192.0.2.7,4000000000\n":               "192.0.2.7/32",
		"192.0.2.7,1\n192.0.2.9,x\n":                         "192.0.2.7/32 192.0.2.9/32",
		"192.0.2.4,4\n192.0.2.9,4\n":                         "192.0.2.4/32 192.0.2.9/32",
	} {
		expect(t, content, readText(t, content, ""), want)
	}
	for _, name := range strings.Fields("until upper bis hi max ending ip2 ip_address_2 to last " +
		"high endIP end_ip_int ip_address_max") {
		for _, first := range []string{"ip", "ip_address", "address", "network"} {
			expectPart(t, readText(t, first+","+name+"\n192.0.2.0,192.0.2.255\n", ""),
				"list:2:1: \"192.0.2.0\" and \"192.0.2.255\" stand in one line; ")
		}
	}
}
