package exposure

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	ex "github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/netlink"
	"github.com/portgrave/portgrave/test/lab"
)

// What counts traffic or connections holds or doesn't by what happened before: everyone is
// possible, nobody certain, and the rule is named. An object of nfacct has a quota or only counts,
// which the kernel tells.
func TestKernelAgreesOnQuotas(t *testing.T) {
	t.Parallel()
	w := newJudge(t, "legacy").w
	if err := w.Host.Do(addAccounts); err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct {
		text    string
		certain bool
		named   string // what the reason says, of a rule that can't be decided
	}{
		{"-A INPUT -m nfacct --nfacct-name plain -j ACCEPT; -P INPUT DROP", true, ""},
		{"-A INPUT -m nfacct --nfacct-name plain -j DROP", false, ""},
		{"-A INPUT -m nfacct --nfacct-name limited -j ACCEPT; -P INPUT DROP", false, "limited"},
		{"-A INPUT -m nfacct --nfacct-name limited -j DROP", false, "limited"},
		{"-A INPUT -m quota --quota 10000000 -j ACCEPT; -P INPUT DROP", false, "quota"},
		{"-A INPUT -m quota ! --quota 10000000 -j DROP", false, "quota"},
		{"-A INPUT -p tcp -m connlimit --connlimit-above 3 -j DROP", false, "connlimit"},
		{"-A INPUT -p tcp -m connlimit --connlimit-upto 3 -j ACCEPT; -P INPUT DROP", false, "connlimit"},
		{"nft: quota over 10 mbytes drop", false, "quota over"},
		{"nft: quota until 10 mbytes accept; drop", false, "quota until"},
		{"nft: ct count over 3 drop", false, "ct count over 3"},
		{"nft: ct count 3 accept; drop", false, "ct count 3"},
		{"nft: quota name big drop", false, "quota big"},
		{"nft: quota name th dport map { 80 : \"big\" } drop", false, "quota"},
		{"nft: ct count over 3 counter; drop", false, ""},
	} {
		nft := strings.HasPrefix(r.text, "nft: ")
		for _, xt := range []string{"legacy", "nft"} {
			switch first, second, _ := strings.Cut(strings.TrimPrefix(r.text, "nft: "), "; "); {
			case nft && xt == "legacy":
				continue
			case nft:
				w.Host.NFT("table ip t {\nquota big { over 10 mbytes; }\nchain in {\n" +
					"type filter hook input priority 0;\n" + first + "\n" + second + "\n}\n}\n")
			default:
				for _, args := range []string{first, second} {
					if args != "" {
						w.Host.Run("iptables-"+xt, strings.Fields("-w "+args)...)
					}
				}
			}
			checkQuota(t, w, xt+" "+r.text, r.certain, r.named)
			w.Host.Run("nft", "flush", "ruleset")
			w.Host.Run("iptables-legacy", "-w", "-P", "INPUT", "ACCEPT")
			w.Host.Run("iptables-legacy", "-w", "-F")
		}
	}
}

func checkQuota(t *testing.T, w *lab.World, name string, certain bool, named string) {
	t.Helper()
	e, err := liveEvaluator(w.Host)
	if err != nil {
		t.Fatal(err)
	}
	a, err := e.Evaluate(ex.Question{
		Family: address.IPv4, Protocol: firewall.TCP, Interface: "eth0", Destination: host4, Port: 80,
	})
	if err != nil {
		t.Fatal(err)
	}
	source := netip.MustParseAddr("1.1.1.1")
	surely, perhaps := a.Through()
	isCertain, isPossible := surely.Contains(ex.Address(source)), perhaps.Contains(ex.Address(source))
	open := w.ProbeEach(w.Internet, []lab.Question{{
		Source: source, To: netip.AddrPortFrom(host4, 80), Over: lab.TCP,
	}}, lab.Attempts(2))[0] == lab.Open
	if isCertain != certain || isPossible != (certain || named != "") ||
		isCertain && !open || open && !isPossible {
		t.Errorf("%s: certain %v, possible %v, packets %v", name, isCertain, isPossible, open)
	}
	if doubts := doubts(a); !strings.Contains(doubts, named) || named == "" && doubts != "" {
		t.Errorf("%s: %q isn't named: %s", name, named, doubts)
	}
	for _, s := range a.Assumed {
		if ex.AssumedOfPackets(s) {
			t.Errorf("%s: assumed %q, which the kernel tells", name, s)
		}
	}
}

// addAccounts makes two objects of nfacct in the calling thread's namespace: one that counts, and
// one that matches beyond ten million bytes (include/uapi/linux/netfilter/nfnetlink_acct.h).
func addAccounts() error {
	const (
		subsystem, add     = 7, 0 // NFNL_SUBSYS_ACCT, NFNL_MSG_ACCT_NEW
		name, flags, quota = 1, 5, 6
		quotaOfBytes       = 2
	)
	c, err := netlink.Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	for _, object := range []string{"plain", "limited"} {
		r := netlink.Netfilter(subsystem, add, unix.AF_UNSPEC, unix.NLM_F_CREATE|unix.NLM_F_ACK,
			func(e *netlink.Encoder) {
				e.String(name, object)
				if object == "limited" {
					e.Uint32(flags, quotaOfBytes)
					e.Uint64(quota, 10_000_000)
				}
			})
		err := c.Ask(context.Background(), r, func(netlink.Message) error { return nil })
		if err != nil {
			return err
		}
	}
	return nil
}
