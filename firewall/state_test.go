package firewall

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall/address"
	"pgregory.net/rapid"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func tcp(first, last uint16) PortRange { return PortRange{TCP, first, last} }

func stateOf(services ...Service) State {
	for i := range services {
		if services[i].Log == "" {
			services[i].Log = LogDenied
		}
	}
	return State{
		Unlisted:    UnlistedIgnore,
		Refuse:      RefuseDrop,
		Established: EstablishedCut,
		Services:    services,
	}
}

func canonical(t testing.TB, s State) State {
	t.Helper()
	c, err := s.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCanonicalIsOneForm(t *testing.T) {
	a := canonical(t, stateOf(
		Service{
			Name:       "b",
			Ports:      []PortRange{tcp(81, 90), tcp(80, 80), {UDP, 80, 80}},
			Interfaces: []string{"eth0", "eth*", "eth0"},
			Sources:    address.Must("10.0.0.0/9", "10.128.0.0/9"),
			Expiring: []ExpiringSource{
				{netip.MustParsePrefix("10.1.0.0/16"), noon},
				{netip.MustParsePrefix("192.0.2.0/25"), noon},
				{netip.MustParsePrefix("192.0.2.128/25"), noon},
			},
		},
		Service{Name: "a", Ports: []PortRange{tcp(22, 22)}, Interfaces: []string{"*"}},
	))
	b := canonical(t, stateOf(
		Service{Name: "a", Ports: []PortRange{tcp(22, 22)}},
		Service{
			Name:       "b",
			Ports:      []PortRange{{UDP, 80, 80}, tcp(80, 85), tcp(83, 90)},
			Interfaces: []string{"eth*"},
			Sources: address.Must(
				"10.0.0.0/8",
			),
			Expiring: []ExpiringSource{{netip.MustParsePrefix("192.0.2.0/24"), noon}},
		},
	))
	if !a.Equal(b) {
		t.Errorf("the same policy, written in two ways, differs:\n%+v\n%+v", a, b)
	}
	if again := canonical(t, a); !again.Equal(a) {
		t.Error("Canonical of a canonical State differs from it")
	}
}

func TestCanonicalRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		state State
		want  string
	}{
		"no ports":       {stateOf(Service{Name: "a"}), "no ports"},
		"port 0":         {stateOf(Service{Name: "a", Ports: []PortRange{tcp(0, 1)}}), "not a range"},
		"reversed":       {stateOf(Service{Name: "a", Ports: []PortRange{tcp(9, 1)}}), "not a range"},
		"bad name":       {stateOf(Service{Name: "a/b", Ports: []PortRange{tcp(1, 1)}}), "must match"},
		"twice":          {stateOf(Service{Name: "a", Ports: []PortRange{tcp(1, 1)}}, Service{Name: "a", Ports: []PortRange{tcp(2, 2)}}), "used twice"},
		"clash":          {stateOf(Service{Name: "a", Ports: []PortRange{tcp(1, 9)}}, Service{Name: "b", Ports: []PortRange{tcp(5, 20)}}), "both claim tcp/5-9"},
		"clash by glob":  {stateOf(Service{Name: "a", Ports: []PortRange{tcp(1, 1)}, Interfaces: []string{"eth*"}}, Service{Name: "b", Ports: []PortRange{tcp(1, 1)}, Interfaces: []string{"eth1"}}), "both claim"},
		"lo":             {stateOf(Service{Name: "a", Ports: []PortRange{tcp(1, 1)}, Interfaces: []string{"lo"}}), "never filtered"},
		"long interface": {stateOf(Service{Name: "a", Ports: []PortRange{tcp(1, 1)}, Interfaces: []string{"sixteencharacter"}}), "longer"},
		"direct lo":      {State{Direct: []string{"lo"}}, "never filtered"},
		"direct all":     {State{Direct: []string{"eth0", "*"}}, "every interface"},
		"rate prefix":    {stateOf(Service{Name: "a", Ports: []PortRange{tcp(1, 1)}, Rate: &Rate{Count: 1, Per: time.Second, Burst: 1, IPv6Prefix: 129}}), "longer than an IPv6"},
		"rate of none":   {stateOf(Service{Name: "a", Ports: []PortRange{tcp(1, 1)}, Rate: &Rate{Count: 0, Per: time.Second, Burst: 1}}), "at least 1"},
		"no modes":       {State{}, "neither ignore nor deny"},
	} {
		if _, err := tt.state.Canonical(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}

func TestRateMemory(t *testing.T) {
	for want, r := range map[time.Duration]Rate{
		2 * time.Second:     {Count: 20, Per: time.Second, Burst: 40},
		time.Second:         {Count: 20, Per: time.Second, Burst: 1}, // whole seconds, rounded up
		40 * time.Minute:    {Count: 1, Per: time.Minute, Burst: 40},
		30 * 24 * time.Hour: {Count: 1, Per: 24 * time.Hour, Burst: 4_000_000_000},
	} {
		if got := r.Memory(); got != want {
			t.Errorf("%s is remembered for %s, want %s", r, got, want)
		}
	}
}

func TestNoClashWhereInterfaceOrAddressDiffers(t *testing.T) {
	canonical(t, stateOf(
		Service{Name: "a", Ports: []PortRange{tcp(22, 22)}, Interfaces: []string{"eth0"}},
		Service{
			Name:       "b",
			Ports:      []PortRange{tcp(22, 22)},
			Interfaces: []string{"eth1"},
			Addresses:  address.Must("192.0.2.1/32"),
		},
		Service{
			Name:       "c",
			Ports:      []PortRange{tcp(22, 22)},
			Interfaces: []string{"eth1"},
			Addresses:  address.Must("192.0.2.2/32"),
		},
	))
}

func TestDecide(t *testing.T) {
	s := canonical(t, stateOf(
		Service{
			Name:     "open",
			Ports:    []PortRange{tcp(9090, 9091)},
			Sources:  address.Must("10.0.0.0/8", "2001:db8::/32"),
			Expiring: []ExpiringSource{{netip.MustParsePrefix("203.0.113.7/32"), noon}},
		},
		Service{
			Name:       "inside",
			Ports:      []PortRange{tcp(22, 22)},
			Interfaces: []string{"eth1"},
			Sources:    address.Must("0.0.0.0/0"),
		},
		Service{
			Name:      "here",
			Ports:     []PortRange{tcp(443, 443)},
			Addresses: address.Must("192.0.2.10/32"),
			Sources:   address.Must("0.0.0.0/0"),
		},
	))
	deny := s
	deny.Unlisted = UnlistedDeny
	flow := func(source, destination string, port uint16, iface string) Flow {
		return Flow{TCP, netip.MustParseAddr(source), netip.MustParseAddr(destination), port, iface}
	}
	before, after := noon.Add(-time.Second), noon
	for _, tt := range []struct {
		state State
		flow  Flow
		now   time.Time
		want  Verdict
	}{
		{s, flow("10.1.2.3", "192.0.2.1", 9090, "eth0"), before, Allowed},
		{s, flow("::ffff:10.1.2.3", "192.0.2.1", 9090, "eth0"), before, Allowed},
		{s, flow("2001:db8::5", "2001:db8::1", 9091, "eth0"), before, Allowed},
		{s, flow("8.8.8.8", "192.0.2.1", 9090, "eth0"), before, Refused},
		{s, flow("8.8.8.8", "192.0.2.1", 9090, "lo"), before, Allowed},
		{s, flow("203.0.113.7", "192.0.2.1", 9090, "eth0"), before, Allowed},
		{s, flow("203.0.113.7", "192.0.2.1", 9090, "eth0"), after, Refused},
		{s, flow("8.8.8.8", "192.0.2.1", 22, "eth1"), before, Allowed},
		{s, flow("8.8.8.8", "192.0.2.1", 22, "eth0"), before, Refused},
		{s, flow("8.8.8.8", "192.0.2.1", 22, ""), before, Allowed},
		{s, flow("8.8.8.8", "192.0.2.10", 443, "eth0"), before, Allowed},
		{s, flow("8.8.8.8", "192.0.2.11", 443, "eth0"), before, Refused},
		{s, flow("8.8.8.8", "192.0.2.1", 80, "eth0"), before, Ignored},
		{deny, flow("8.8.8.8", "192.0.2.1", 80, "eth0"), before, Refused},
	} {
		if got := tt.state.Decide(tt.flow, tt.now); got.Verdict != tt.want {
			t.Errorf(
				"%+v at %v: %v (%s), want %v",
				tt.flow,
				tt.now,
				got.Verdict,
				got.Reason,
				tt.want,
			)
		}
	}
}

func TestStateSurvivesJSON(t *testing.T) {
	s := canonical(
		t,
		State{
			Unlisted:    UnlistedDeny,
			Refuse:      RefuseReject,
			Established: EstablishedKeep,
			Essentials:  AllEssentials &^ EssentialEcho,
			Services: []Service{
				{
					Name:       "a",
					Ports:      []PortRange{{SCTP, 1, 65535}},
					Interfaces: []string{"eth*"},
					Addresses:  address.Must("192.0.2.1/32"),
					Sources:    address.Must("0.0.0.0/0", "::/0"),
					Log:        LogAll,
					Rate:       &Rate{Count: 20, Per: time.Minute, Burst: 40},
					Expiring:   nil,
				},
				{
					Name:     "b",
					Ports:    []PortRange{tcp(1, 1)},
					Log:      LogNone,
					Expiring: []ExpiringSource{{netip.MustParsePrefix("10.0.0.0/8"), noon}},
				},
			},
		},
	)
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back State
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if !back.Equal(s) {
		t.Errorf("came back different:\n%s", b)
	}
}

func TestPrefixesAreASet(t *testing.T) {
	prefix := rapid.Custom(func(t *rapid.T) netip.Prefix {
		if rapid.Bool().Draw(t, "v6") {
			a := [16]byte{0x20, 1, 15: rapid.Byte().Draw(t, "low")}
			return netip.PrefixFrom(netip.AddrFrom16(a), rapid.IntRange(118, 128).Draw(t, "bits")).
				Masked()
		}
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, rapid.Byte().Draw(t, "c") & 3, rapid.Byte().Draw(t, "d")}), rapid.IntRange(20, 32).Draw(t, "bits")).
			Masked()
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.SliceOf(prefix).Draw(t, "a"), rapid.SliceOf(prefix).Draw(t, "b")
		pa, erra := address.New(a...)
		pb, errb := address.New(b...)
		if erra != nil || errb != nil {
			t.Fatal(erra, errb)
		}
		in := func(list []netip.Prefix, x netip.Addr) bool {
			return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(x) })
		}
		for range 50 {
			x := prefix.Draw(t, "probe").Addr()
			inA, inB := in(a, x), in(b, x)
			if pa.Contains(x) != inA || pa.Union(pb).Contains(x) != (inA || inB) ||
				pa.Minus(pb).Contains(x) != (inA && !inB) ||
				pa.Intersect(pb).Contains(x) != (inA && inB) {
				t.Fatalf(
					"%v: a %v b %v, but sets say otherwise: %v %v",
					x,
					inA,
					inB,
					pa.Strings(),
					pb.Strings(),
				)
			}
		}
		reversed := slices.Clone(a)
		slices.Reverse(reversed)
		if pr, _ := address.New(reversed...); !pr.Equal(pa) {
			t.Fatalf("order matters: %v, %v", pa.Strings(), pr.Strings())
		}
	})
}

func TestPrefixesRefuseMapped(t *testing.T) {
	if _, err := address.New(netip.MustParsePrefix("::ffff:10.0.0.0/104")); err == nil {
		t.Error("an IPv4-mapped prefix was taken")
	}
}

func TestCutAndLockedOut(t *testing.T) {
	s := canonical(
		t,
		stateOf(
			Service{
				Name:       "ssh",
				Ports:      []PortRange{tcp(22, 22)},
				Interfaces: []string{"eth0"},
				Sources:    address.Must("10.0.0.0/8"),
			},
		),
	)
	owners := map[string]string{}
	conn := func(client string, port uint16, iface, owner string) Connection {
		owners[client] = owner
		return Connection{
			Protocol:  TCP,
			Client:    netip.MustParseAddrPort(client),
			Dialled:   netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port),
			Interface: iface,
		}
	}
	good, bad, unlisted := conn(
		"10.0.0.1:5000",
		22,
		"eth0",
		"sshd",
	), conn(
		"8.8.8.8:5000",
		22,
		"eth0",
		"sshd-session",
	), conn(
		"8.8.8.8:5001",
		80,
		"eth0",
		"nginx",
	)
	elsewhere, unsure := conn(
		"10.0.0.1:5002",
		22,
		"eth1",
		"nc",
	), conn(
		"10.0.0.1:5003",
		22,
		"",
		"nc",
	)
	running := []Connection{good, bad, unlisted, elsewhere, unsure}
	opts := cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
	if diff := cmp.Diff(
		[]Connection{bad, elsewhere}, s.Cut(running, false, noon), opts,
	); diff != "" {
		t.Errorf("Cut: %s", diff)
	}
	forged, own := bad, good // or so it may be
	forged.FromHost, own.FromHost = true, true
	if got := s.Cut([]Connection{forged, own}, false, noon); got != nil {
		t.Errorf("where rules stood, what the host has begun is cut: %v", got)
	}
	if diff := cmp.Diff(
		[]Connection{forged}, s.Cut([]Connection{forged, own}, true, noon), opts,
	); diff != "" {
		t.Errorf("Cut by the first rules: %s", diff)
	}
	if got := LockedOut(s, []Connection{forged}, Connection{}, noon, func([]Connection) {}); got != nil {
		t.Errorf("what the host has begun is taken for a session: %v", got)
	}
	var asked []string
	name := func(of []Connection) {
		for i := range of {
			asked = append(asked, of[i].Client.String())
			of[i].Owner = owners[of[i].Client.String()]
		}
	}
	named := func(c Connection) Connection { c.Owner = owners[c.Client.String()]; return c }
	if diff := cmp.Diff(
		[]Connection{named(bad)}, LockedOut(s, running, Connection{}, noon, name), opts,
	); diff != "" {
		t.Errorf("LockedOut: %s", diff)
	}
	if want := []string{bad.Client.String(), elsewhere.Client.String()}; !slices.Equal(
		asked,
		want,
	) {
		t.Errorf("whose connections these are was asked of %v, want %v", asked, want)
	}
	for what, session := range map[string]Connection{
		"one that is not listed": conn("8.8.4.4:6000", 22, "", ""),
		"one of another program": {Client: elsewhere.Client, Dialled: elsewhere.Dialled},
		"an allowed one":         {Client: good.Client, Dialled: good.Dialled},
		"one to an open port":    conn("8.8.4.4:6001", 80, "", ""),
	} {
		want := []Connection{named(bad)}
		switch what {
		case "one that is not listed":
			want = append(want, session)
		case "one of another program":
			want = append(want, named(elsewhere))
		}
		if diff := cmp.Diff(want, LockedOut(s, running, session, noon, name), opts); diff != "" {
			t.Errorf("LockedOut with a session, %s: %s", what, diff)
		}
	}
	s.Established = EstablishedKeep
	if got := s.Cut(running, true, noon); got != nil {
		t.Errorf("established: keep cuts %v", got)
	}
	if got := LockedOut(s, running, Connection{}, noon, name); len(got) != 1 {
		t.Errorf("established: keep would lock the next login out, but: %v", got)
	}
}
