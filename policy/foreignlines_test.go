package policy

import (
	"os/exec"
	"strings"
	"testing"
)

// saveGood is the command for an ipset named good.
const saveGood = "ipset save good | sed -E '/^add /!d; / nomatch| timeout [1-9]/!" +
	`s/^add good ([^ ,]+)( .*)?$/\1/'`

// TestForeignLines checks that lists of other programs are refused with the program and what to
// write, once. Where a message offers a command, its output for the list is shell, in which a line
// that can't be converted remains and is refused.
func TestForeignLines(t *testing.T) {
	for name, c := range map[string]struct{ content, want, converted string }{
		"ipset save": {
			"create good hash:ip family inet hashsize 1024 maxelem 65536\nadd good 192.0.2.1\n" +
				"add good 192.0.2.3\n",
			"list:1:1: this is a line of ipset save, which is not read: write the elements " +
				"alone, one a line: " + saveGood,
			"192.0.2.1/32 192.0.2.3/32",
		},
		"ipset save, options": {
			"create -exist good hash:net family inet\nadd -exist good 192.0.2.0/24\n",
			"list:1:1: this is a line of ipset save, which is not read: write the elements " +
				"alone, one a line: " + saveGood, "",
		},
		"two ipsets": {
			"add good 192.0.2.1\nadd bad.ly 192.0.2.3\nadd good 192.0.2.5\n",
			"list:1:1: this is a line of ipset save, which is not read: write the elements " +
				"alone, one a line: " + saveGood + "\n" +
				"list:2:1: this is a line of ipset save, which is not read: write the elements " +
				"alone, one a line", "",
		},
		"an ipset of pairs": {
			"create good hash:ip,port family inet\nadd good 192.0.2.1,tcp:80\n",
			"list:1:1: this is a line of ipset save, and the elements of good, a hash:ip,port, " +
				"are " +
				"not addresses alone: a list has addresses, CIDRs and ranges\n" +
				"list:2:1: this is a line of ipset save, and the elements of good are not " +
				"addresses alone: a list has addresses, CIDRs and ranges", "",
		},
		"an exception, and an element that ends": {
			"add good 192.0.2.9 nomatch\nadd good 192.0.2.8 timeout 300\n192.0.2.7 nomatch\n" +
				"192.0.2.6 timeout 300\n",
			"list:1:1: this is an exception of the set good (nomatch): write it into except\n" +
				"list:2:1: this is an element of the set good that ends (timeout): write it " +
				"into allow with expires, or let it end and delete the line, since a list has " +
				"no end\n" +
				`list:3:1: "192.0.2.7 nomatch" is not an address or CIDR; an entry is an address ` +
				"alone; whom to refuse stands in except\n" +
				`list:4:1: "192.0.2.6 timeout 300" is not an address or CIDR; an entry that ends ` +
				"stands in allow, with expires", "",
		},
		"ipset list": {
			"Name: good\nType: hash:ip\nRevision: 5\nMembers:\n192.0.2.1\n",
			"list:1:1: this is a line of ipset list, which is not read: write the members alone: " +
				"sed '1,/^Members:/d'", "192.0.2.1/32",
		},
		"nftables": {
			"table inet t {\n\tset s {\n\t\ttype ipv4_addr\n\t\telements = { 192.0.2.1,\n" +
				"\t\t\t     192.0.2.3 }\n\t}\n}\n",
			"list:1:1: this is a line of nftables, which is not read: write the elements of the " +
				"set alone, one a line: nft list set FAMILY TABLE SET | tr -d ' \\t\\n' | " +
				`sed 's/.*elements={//; s/}.*//' | tr , '\n'` +
				"\nlist:5:9: \"192.0.2.3 }\" is not an address or CIDR; write 192.0.2.3",
			"192.0.2.1/32 192.0.2.3/32",
		},
		"a set of nftables": {
			"{ 192.0.2.1 }\n",
			`list:1:1: "{ 192.0.2.1 }" is not an address or CIDR; write 192.0.2.1`, "",
		},
		"iptables": {
			"*filter\n:INPUT DROP [0:0]\n-A INPUT -s 192.0.2.0/24 -j ACCEPT\nCOMMIT\n",
			"list:1:1: " + rulesMessage, "",
		},
		"commands": {"iptables -A INPUT -s 192.0.2.1 -j DROP\nsudo ufw allow from 192.0.2.3\n",
			"list:1:1: " + rulesMessage, ""},
		"ufw status": {
			"Status: active\n\nTo                         Action      From\n" +
				"--                         ------      ----\n" +
				"22/tcp                     ALLOW IN    192.0.2.0/24\n",
			"list:1:1: " + rulesMessage, "",
		},
		"nginx": {
			"allow 192.0.2.0/24;\n  allow 2001:db8::/32; # x\ndeny 192.0.2.1;\n",
			"list:1:1: " + nginxMessage, "192.0.2.0/24 2001:db8::/32",
		},
		"nginx with deny first": {
			"deny 192.0.2.1;\n192.0.2.0/24\n",
			"list:1:1: " + nginxMessage, "",
		},
		"nginx, any spaces": {
			"\tallow 192.0.2.0/24;\n  allow 192.0.4.1; allow\t192.0.4.3; deny all;\n" +
				"geo { allow 192.0.4.5; } # x; allow 203.0.113.1;\nallow\n 192.0.4.7;\n",
			"list:1:2: " + nginxMessage + "\n" + `list:3:1: "geo { allow 192.0.4.5" is not an ` +
				"address or CIDR; a line has one address, CIDR or range, and comments behind #\n" +
				`list:4:1: "allow" is not an address or CIDR`,
			"192.0.2.0/24 192.0.4.1/32 192.0.4.3/32 192.0.4.5/32 192.0.4.7/32",
		},
		"ipset save, with comments and counters": {
			"create good hash:ip comment counters timeout 0\nadd good 192.0.2.1 timeout 0 " +
				"packets 1 bytes 9 comment \"x, y\"\nadd good 192.0.2.3 comment \"z\"\n",
			"list:1:1: this is a line of ipset save, which is not read: write the elements " +
				"alone, one a line: " + saveGood,
			"192.0.2.1/32 192.0.2.3/32",
		},
		"ipset save, with elements that end": {
			"create good hash:net timeout 5\nadd good 192.0.2.1 timeout 5\nadd good 192.0.2.0/30 " +
				"timeout 0 nomatch\nadd good 192.0.2.8\n",
			"list:1:1: this is a line of ipset save, which is not read: write the elements " +
				"alone, one a line: " + saveGood + "\n" +
				"list:2:1: this is an element of the set good that ends (timeout): write it " +
				"into allow with expires, or let it end and delete the line, since a list has " +
				"no end\n" +
				"list:3:1: this is an exception of the set good (nomatch): write it into except",
			"list:1:1: this is an element of the set good that ends (timeout): write it " +
				"into allow with expires, or let it end and delete the line, since a list has " +
				"no end\n" +
				"list:2:1: this is an exception of the set good (nomatch): write it into except",
		},
		"slashes": {
			"// office\n  // 203.0.113.1\n192.0.2.1\n",
			"list:1:1: comments begin with # or ;: where lines begin with //, this changes " +
				"them: sed 's|^[[:space:]]*//|#|'", "192.0.2.1/32",
		},
		"a merge conflict": {
			"<<<<<<< HEAD\n192.0.2.1\n=======\n192.0.2.3\n>>>>>>> x\n",
			"list:1:1: this is a conflict that git merge left in the file: decide for one side " +
				"and delete these lines", "",
		},
		"pf": {
			"table <bad> {\n  192.0.2.1,\n}\n",
			"list:1:1: this is a line of pf.conf, which is not read: write the addresses of the " +
				"table alone, one a line: pfctl -t bad -T show", "",
		},
		"a definition of nftables": {
			"define office = {\n\t192.0.2.1,\n}\n",
			"list:1:1: this is a definition of nftables, which is not read: write the elements " +
				"of the one that is meant alone, one a line", "",
		},
		"Python": {
			"office = [\n    '192.0.2.1',  # x\n    # '203.0.113.1', '203.0.113.3',\n" +
				"    '192.0.2.3', \"192.0.2.5\",\n]\n",
			"list:1:1: " + literalMessage, "",
		},
		"Python on one line": {
			"['192.0.2.1', '192.0.2.3']\n",
			"list:1:1: " + literalMessage, "",
		},
		"a variable": {"IPS=\"192.0.2.1\"\n", "list:1:1: " + literalMessage, ""},
		"unbound": {
			"access-control: 192.0.2.0/24 allow # x\n  access-control: 0.0.0.0/0 refuse\n",
			"list:1:1: " + unboundMessage, "192.0.2.0/24",
		},
		"Squid": {
			"acl localnet src 192.0.2.0/24\n",
			"list:1:1: this is a line of an access list of Squid, HAProxy or BIND, which is not " +
				"read: write the addresses of the one that is meant alone, one a line", "",
		},
		"routes": {
			"192.0.2.0/24 dev eth0 proto kernel scope link src 192.0.2.5\n" +
				"192.0.4.0/24 via 192.0.2.1 dev eth0\n",
			"list:1:1: " + routeMessage, "192.0.2.0/24 192.0.4.0/24",
		},
		"a default route": {
			"default via 192.0.2.1 dev eth0\n",
			"list:1:1: " + routeMessage, `list:1:1: "default" is not an address or CIDR`,
		},
		"Apache httpd": {
			"Require ip 192.0.2.0/24 198.51.100.7\nAllow from 203.0.113.9\nDeny from 192.0.2.1\n",
			"list:1:1: this is a line of Apache httpd, which is not read: write the addresses of " +
				"Require ip and Allow from alone, one a line: " +
				`sed -nE 's/^ *(Require ip|Allow from) +//Ip' | tr ' ' '\n'; those of Deny from ` +
				"and Require not stand in except", "192.0.2.0/24 198.51.100.7/32 203.0.113.9/32",
		},
		"hosts.allow": {
			"# x\nsshd: 192.0.2.0/24\nALL: 192.0.2.\nsshd, in.telnetd : 192.0.2.1\nALL: LOCAL\n",
			"list:2:1: " + hostsMessage, "",
		},
		"a key": {
			"network: 192.0.2.0/24\nnetwork: 2001:db8::/32\n",
			"list:1:1: " + keyMessage("network"), "",
		},
		"keys in dashes": {
			"- cidr: 192.0.2.0/24\n- cidr: 2001:db8::/32\n",
			"list:1:1: " + keyMessage("- cidr"), "",
		},
		"a key that refuses": {
			"deny: 192.0.2.0/24\n",
			"list:1:1: the key deny stands before the address: whom to refuse stands in except", "",
		},
		"YAML": {
			"payload:\n  - '192.0.2.0/24'\n  - 2001:db8::/32\n  - \"192.0.4.1\"\n",
			"list:1:1: " + yamlMessage, "",
		},
		"dashes": {"- 192.0.2.1\n", `list:1:1: "- 192.0.2.1" is not an address or CIDR; ` +
			`leave the dash out: write 192.0.2.1`, ""},
		"dashes, quoted": {"- '192.0.2.1'\n", "list:1:1: " + yamlMessage, ""},
		"whois": {
			"% This is the RIPE Database.\ninetnum:        192.0.2.0 - 192.0.2.255\nnetname:  X\n",
			"list:1:1: " + whoisMessage("(inet6?num|NetRange)"), "192.0.2.0/24",
		},
		"routes of whois": {
			"route:          192.0.2.0/24\norigin: AS64496\n",
			"list:1:1: " + whoisMessage("route") + "\nlist:2:1: " +
				whoisMessage("(inet6?num|NetRange)"), "192.0.2.0/24",
		},
		"ranges as numbers": {
			"16777216,16777471,AU\n\"16777472\",\"16778239\",\"CN\"\n",
			"list:1:1: " + numbersMessage("16777216", "16777471"), "1.0.0.0/22",
		},
		"ranges as numbers, with a heading": {
			"start_ip;end_ip\n16777216;16777471\n",
			"list:2:1: " + numbersMessage("16777216", "16777471"), "1.0.0.0/24",
		},
		"other numbers": {"12,345\n16777471,16777216\n", `list:1:1: "12" is not an address or ` +
			`CIDR` +
			"\n" + `list:2:1: "16777471" is not an address or CIDR`, ""},
		"ranges with names": {
			"Some Name:192.0.2.0-192.0.2.255\n",
			"list:1:1: a name stands before the range: delete the names: sed 's/.*://'",
			"192.0.2.0/24",
		},
		"delegations": {
			"2|ripencc|20260101|1|19700101|20260101|+0100\nripencc|DE|ipv4|192.0.2.0|256|x|y\n",
			"list:1:1: this is a registry's list of delegations, in which a number of addresses " +
				"stands behind the first one: write each as FIRST-LAST or as CIDRs, one a line", "",
		},
		"RouterOS": {
			"/ip firewall address-list\nadd address=192.0.2.0/24 list=office\n",
			"list:1:1: this is a line of RouterOS, which is not read: write the addresses of one " +
				"list alone, one a line", "",
		},
		"the name of ranges": {
			"range\n192.0.2.0-192.0.2.255\n192.0.3.0 - 192.0.3.255\n", "192.0.2.0/23", "",
		},
		"too short for ipset": {
			"add -exist 192.0.2.1\n",
			"list:1:1: this is a line of ipset save, which is not read: write the elements " +
				"alone, one a line: " + strings.ReplaceAll(saveGood, "good", "-exist"), "",
		},
		"the name of addresses": {"# x\n\"IP Address\"\n192.0.2.1\n", "192.0.2.1/32", ""},
		"one name for two columns": {
			"ip\n192.0.2.1,203.0.113.9\n",
			`list:2:1: "192.0.2.1" and "203.0.113.9" stand in one line` + oneALine, "",
		},
		"a name later": {"192.0.2.1\nrange\n", `list:2:1: "range" is not an address or CIDR`, ""},
		"a name of its own": {
			"office\n192.0.2.1\n", `list:1:1: "office" is not an address or CIDR`, "",
		},
		"a verdict": {
			"192.0.2.0/24 REJECT\n",
			`list:1:1: "192.0.2.0/24 REJECT" is not an address or CIDR; ` +
				"an entry is an address alone; whom to refuse stands in except", "",
		},
		"a log": {
			"192.0.2.1 - - [01/Jan/2026:00:00:00] \"GET\"\n",
			`list:1:1: "192.0.2.1 - - [01/Jan/2026:00:00:00] \"GET\"" is not an address, a CIDR ` +
				`or ` +
				"a range of addresses; a range goes from one address to another, without prefix " +
				"lengths", "",
		},
		"anything": {
			"server host 192.0.2.1 x\n",
			`list:1:1: "server host 192.0.2.1 x" is not an address or CIDR; a line has one ` +
				"address, CIDR or range, and comments behind #", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := readText(t, c.content, "")
			expect(t, "the message", got, c.want)
			if c.converted == "" {
				return
			}
			line, _, _ := strings.Cut(got, "\n")
			begin := max(strings.Index(line, "sed "), 0)
			if i := strings.Index(line, "tr -d "); i >= 0 {
				begin = i
			}
			command, _, _ := strings.Cut(line[begin:], "; those of")
			run := exec.Command("sh", "-c", command)
			run.Stdin = strings.NewReader(c.content)
			out, err := run.Output()
			if err != nil {
				t.Fatal(command, err)
			}
			expect(t, command, readText(t, string(out), ""), c.converted)
		})
	}
}
