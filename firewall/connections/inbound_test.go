package connections

import (
	"net/netip"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/netlink/inetdiag"
	"golang.org/x/sys/unix"
)

func TestInbound(t *testing.T) {
	const host, client, box = "192.0.2.1", "198.51.100.7", "10.88.0.2"
	local := func(a netip.Addr) bool {
		return a.IsLoopback() || a.String() == host || a.String() == "2001:db8::1"
	}
	ap := netip.MustParseAddrPort
	tcp := func(local, remote string) inetdiag.Socket {
		s := inetdiag.Socket{Protocol: firewall.TCP, Family: unix.AF_INET, Local: ap(local)}
		if remote != "" {
			s.Remote = ap(remote)
		}
		return s
	}
	entry := func(src, dst, replySrc, replyDst string) flow {
		return flow{
			protocol: firewall.TCP,
			orig:     ends{ap(src), ap(dst)},
			reply:    ends{ap(replySrc), ap(replyDst)},
			state:    ctEstablished,
		}
	}
	with := func(f flow, change func(*flow)) flow { change(&f); return f }
	const s, c = host + ":9090", client + ":1234"
	fromClient, fromHost := entry(c, s, s, c), entry(s, c, c, s)
	pickedUp := func(f *flow) { f.pickedUp = true }
	for name, x := range map[string]struct {
		connected, listening []inetdiag.Socket
		tracked              []flow
		want                 string // client > dialled; "" is none
	}{
		"untracked, a listener":           {[]inetdiag.Socket{tcp(s, c)}, []inetdiag.Socket{tcp("0.0.0.0:9090", "")}, nil, c + " > " + s},
		"untracked, a listener there":     {[]inetdiag.Socket{tcp(s, c)}, []inetdiag.Socket{tcp(s, "")}, nil, c + " > " + s},
		"untracked, a listener elsewhere": {[]inetdiag.Socket{tcp(s, c)}, []inetdiag.Socket{tcp("127.0.0.1:9090", ""), tcp("0.0.0.0:9091", "")}, nil, ""},
		"untracked, none":                 {[]inetdiag.Socket{tcp(s, c)}, nil, nil, ""},
		"tracked from the client":         {[]inetdiag.Socket{tcp(s, c)}, nil, []flow{fromClient}, c + " > " + s},
		"tracked from the host":           {[]inetdiag.Socket{tcp(s, c)}, []inetdiag.Socket{tcp("0.0.0.0:9090", "")}, []flow{fromHost}, ""},
		"picked up, a listener":           {[]inetdiag.Socket{tcp(s, c)}, []inetdiag.Socket{tcp("0.0.0.0:9090", "")}, []flow{with(fromHost, pickedUp)}, c + " > " + s},
		"picked up, none":                 {[]inetdiag.Socket{tcp(s, c)}, nil, []flow{with(fromClient, pickedUp)}, ""},
		"a server's own, or forged": {
			nil, []inetdiag.Socket{tcp("0.0.0.0:9090", "")}, []flow{fromHost}, c + " > " + s,
		},
		"to a client whom no server knows": {
			nil, []inetdiag.Socket{tcp("0.0.0.0:9091", "")}, []flow{fromHost}, "",
		},
		"loopback":                           {[]inetdiag.Socket{tcp("127.0.0.1:9090", "127.0.0.1:5")}, []inetdiag.Socket{tcp("0.0.0.0:9090", "")}, nil, ""},
		"the host's address to itself":       {[]inetdiag.Socket{tcp(s, host+":5")}, []inetdiag.Socket{tcp("0.0.0.0:9090", "")}, nil, ""},
		"redirected":                         {[]inetdiag.Socket{tcp(host+":8080", c)}, nil, []flow{entry(c, host+":80", host+":8080", c)}, c + " > " + host + ":80"},
		"source translated on input":         {[]inetdiag.Socket{tcp(s, "203.0.113.9:7")}, nil, []flow{entry(c, s, s, "203.0.113.9:7")}, c + " > " + s},
		"own, destination translated":        {[]inetdiag.Socket{tcp(s, c)}, []inetdiag.Socket{tcp("0.0.0.0:9090", "")}, []flow{entry(s, c, box+":80", s)}, ""},
		"published":                          {nil, nil, []flow{entry(c, s, box+":80", c)}, c + " > " + s},
		"published, just ended":              {nil, nil, []flow{with(entry(c, s, box+":80", c), func(f *flow) { f.state = ctTimeWait })}, ""},
		"published and masqueraded":          {nil, nil, []flow{entry(c, s, box+":80", "10.88.0.1:999")}, c + " > " + s},
		"routed":                             {nil, nil, []flow{entry(c, box+":80", box+":80", c)}, ""},
		"the host to a published port":       {nil, nil, []flow{entry(host+":5", s, box+":80", host+":5")}, ""},
		"a tombstone":                        {nil, nil, []flow{fromClient}, ""},
		"a dual-stack listener":              {[]inetdiag.Socket{{Protocol: firewall.TCP, Family: unix.AF_INET6, Local: ap(s), Remote: ap(c)}}, []inetdiag.Socket{{Protocol: firewall.TCP, Family: unix.AF_INET6, Local: ap("[::]:9090")}}, nil, c + " > " + s},
		"an IPv6-only listener":              {[]inetdiag.Socket{{Protocol: firewall.TCP, Family: unix.AF_INET6, Local: ap(s), Remote: ap(c)}}, []inetdiag.Socket{{Protocol: firewall.TCP, Family: unix.AF_INET6, V6Only: true, Local: ap("[::]:9090")}}, nil, ""},
		"a listener of the other protocol":   {[]inetdiag.Socket{tcp(s, c)}, []inetdiag.Socket{{Protocol: firewall.UDP, Family: unix.AF_INET, Local: ap("0.0.0.0:9090")}}, nil, ""},
		"a listener of the other family":     {[]inetdiag.Socket{tcp(s, c)}, []inetdiag.Socket{{Protocol: firewall.TCP, Family: unix.AF_INET6, Local: ap("[::]:9090")}}, nil, ""},
		"the same tuple of another protocol": {[]inetdiag.Socket{tcp(s, c)}, nil, []flow{with(fromClient, func(f *flow) { f.protocol = firewall.UDP })}, ""},
	} {
		got := ""
		for _, f := range inbound(x.connected, x.listening, x.tracked, local) {
			if got != "" {
				got += ", "
			}
			got += f.Client.String() + " > " + f.Dialled.String()
			if (f.Forwarded || f.FromHost) != (f.flow != nil) ||
				(f.Forwarded || f.FromHost) == (f.socket != nil) {
				t.Errorf("%s: %+v", name, f)
			}
		}
		if got != x.want {
			t.Errorf("%s: got %q, want %q", name, got, x.want)
		}
	}
}

func TestSession(t *testing.T) {
	for env, want := range map[string]string{
		"192.0.2.7 50000 192.0.2.1 22":               "192.0.2.7:50000 192.0.2.1:22",
		"2001:db8::7 50000 2001:db8::1 2222":         "[2001:db8::7]:50000 [2001:db8::1]:2222",
		"::ffff:192.0.2.7 50000 ::ffff:192.0.2.1 22": "192.0.2.7:50000 192.0.2.1:22",
		"fe80::7%eth0 50000 fe80::1%eth0 22":         "[fe80::7]:50000 [fe80::1]:22",
		"":                                           "",
		"192.0.2.7 50000 192.0.2.1":                  "",
		"192.0.2.7 50000 192.0.2.1 22 x":             "",
		"192.0.2.7 0 192.0.2.1 22":                   "",
		"192.0.2.7 65536 192.0.2.1 22":               "",
		"example.com 50000 192.0.2.1 22":             "",
		"192.0.2.7 50000 UNKNOWN 22":                 "",
		"192.0.2.7:1 50000 192.0.2.1:1 22":           "",
	} {
		client, server, ok := Session(
			func(name string) string { return map[string]string{"SSH_CONNECTION": env}[name] },
		)
		got := ""
		if ok {
			got = client.String() + " " + server.String()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", env, got, want)
		}
	}
}
