package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/exposure/audit"
	"github.com/portgrave/portgrave/test/lab"
	"github.com/portgrave/portgrave/test/peers"
)

// The firewalls of other projects, run for real: what audit, explain and import say of them is
// judged by packets.

const ufwSetup = `
# what the package does when it is installed
cp -n /usr/share/ufw/iptables/*.rules /usr/share/ufw/*.init /usr/share/ufw/ufw.conf /etc/ufw/
chmod 640 /etc/ufw/*.rules
mkdir -p /var/lib/ufw
ufw default deny incoming
ufw default allow routed # as on every host of containers: ufw alone would close their ports too
`

func TestUfw(t *testing.T) {
	lab.RequireRoot(t)
	t.Parallel()
	w := lab.New(t)
	for _, port := range []uint16{22, 9090, 9091, 9092, 9093} {
		w.Host.ListenTCP(port)
	}
	w.Container.ListenTCP(80)
	w.Publish("tcp", 8080, 80)
	peers.Start(t, w.Host, ufwSetup+`
ufw allow from 192.0.2.0/24 to any port 22 proto tcp
ufw allow from 2001:db8:4000::/36 to any port 22 proto tcp
ufw limit 9090/tcp
ufw deny from 192.88.99.0/25 to any port 9091 proto tcp
ufw allow 9091,9092/tcp
ufw insert 1 reject from 64.0.0.0/3 to any port 9092 proto tcp
ufw --force enable
echo ready
`)
	i := install(t, w, "version: 1\nservices: []\n")
	report := i.audit()
	a := agree(t, w, report)
	if a.ports != 6 || a.open < 20 || a.probes-a.open < 20 {
		t.Errorf("too little to prove anything: %+v", a)
	}
	found(t, report, audit.Bypass, 8080)
	found(t, report, audit.RateLimited, 9090)
	for _, e := range []explained{
		{"8.8.8.8", "9093", []string{"dropped-here", "ufw"}},
		{"192.0.2.7", "22", []string{"connects", "let in by ufw, ip filter chain ufw-user-input"}},
		{"192.88.99.7", "9091", []string{"dropped-here", "ufw, ip filter chain ufw-user-input"}},
		{"65.1.1.1", "9092", []string{"dropped-here", "ufw, ip filter chain ufw-user-input"}},
		{"8.8.8.8", "9090", []string{"undecided", "ufw"}},
		{"8.8.8.8", "8080", []string{"connects", "172.17.0.2:80"}},
		{"2001:db8:4000::1", "22", []string{"connects", "ufw6-user-input"}},
		{"2a00::1", "22", []string{"dropped-here"}},
	} {
		e.check(t, i)
	}
	importChangesNothing(t, i, report)
	agree(t, w, i.audit())
	effectsAgree(t, w, i, 40, "ufw still refuses")
}

func TestFirewalld(t *testing.T) {
	lab.RequireRoot(t)
	t.Parallel()
	w := lab.New(t)
	for _, port := range []uint16{22, 9090, 9091, 9092} {
		w.Host.ListenTCP(port)
	}
	w.Container.ListenTCP(80)
	w.Publish("tcp", 8080, 80)
	peers.Start(t, w.Host, `
rm -f /usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service # else polkitd is asked, which has no session to ask
mkdir -p /run/dbus /run/firewalld
dbus-daemon --system --nopidfile --fork
firewalld --nofork --nopid &
for n in $(seq 300); do ! firewall-cmd --state >/dev/null 2>&1 || break; sleep 0.1; done
set -x
firewall-cmd --zone=public --add-interface=eth0
firewall-cmd --zone=public --remove-service=ssh
firewall-cmd --zone=public --add-rich-rule='rule family=ipv4 source address=192.0.2.0/24 service name=ssh accept'
firewall-cmd --zone=public --add-port=9091/tcp
firewall-cmd --zone=public --add-rich-rule='rule family=ipv6 source address=2001:db8:8000::/33 port port=9091 protocol=tcp reject'
firewall-cmd --zone=internal --add-source=192.88.99.0/25
firewall-cmd --zone=internal --add-source=2001:db8:4000::/36
firewall-cmd --zone=internal --add-port=9090/tcp
firewall-cmd --zone=drop --add-source=64.0.0.0/3
firewall-cmd --zone=public --add-rich-rule='rule family=ipv4 port port=9092 protocol=tcp accept limit value=1/m'
echo ready
wait
`)
	i := install(t, w, "version: 1\nservices: []\n")
	report := i.audit()
	a := agree(t, w, report)
	if a.ports != 5 || a.open < 10 || a.probes-a.open < 20 {
		t.Errorf("too little to prove anything: %+v", a)
	}
	for _, e := range []explained{
		{"8.8.8.8", "22", []string{"dropped-here", "stopped by firewalld, inet firewalld chain filter_IN_public: reject"}},
		{"192.0.2.7", "22", []string{"connects", "filter_IN_public_allow"}},
		{"192.88.99.7", "9090", []string{"connects", "filter_IN_internal_allow"}},
		{"65.1.1.1", "9091", []string{"dropped-here", "filter_IN_drop"}},
		{"2001:db8:9000::1", "9091", []string{"dropped-here", "filter_IN_public_deny"}},
	} {
		e.check(t, i)
	}
	importChangesNothing(t, i, report)
	agree(t, w, i.audit())
}

// A port that dockerd publishes goes past ufw, which believes it closed.
func TestDockerdPastUfw(t *testing.T) {
	lab.RequireRoot(t)
	t.Parallel()
	w := lab.New(t)
	w.Host.ListenTCP(22)
	peers.Start(t, w.Host, ufwSetup+`
ufw default deny routed
ufw allow from 192.0.2.0/24 to any port 22 proto tcp
ufw --force enable
# The lab's docker0 belongs to no container network here: like compose, make one.
nft delete table inet dockerlike
export DOCKER_HOST=unix:///run/docker.sock
dockerd -H $DOCKER_HOST --data-root $SCRATCH/data --exec-root $SCRATCH/exec --storage-driver overlay2 --cgroup-parent $CGROUP &
for n in $(seq 300); do ! docker version >/dev/null 2>&1 || break; sleep 0.1; done
mkdir -p $SCRATCH/image/bin
cp /usr/bin/busybox $SCRATCH/image/bin/
tar -C $SCRATCH/image -c . | docker import - tiny:1
docker network create --subnet 172.18.0.0/24 front
docker run -d --network front -p 9090:80 -p 198.51.100.11:9091:80 tiny:1 /bin/busybox httpd -f -p 80 -h /
echo ready
wait
`)
	i := install(t, w, "version: 1\nservices: []\n")
	report := i.audit()
	a := agree(t, w, report)
	if a.open < 5 || a.probes-a.open < 5 {
		t.Errorf("too little to prove anything: %+v", a)
	}
	found(t, report, audit.Bypass, 9090)
	n := slices.IndexFunc(
		report.Exposures,
		func(x audit.Exposure) bool { return x.Port == 9090 && x.Target != "" && x.Interface == "eth0" },
	)
	if n < 0 {
		t.Fatalf("no row for the published port: %+v", report.Exposures)
	}
	if x := report.Exposures[n]; x.Process != "busybox" || x.Container == "" ||
		!strings.HasSuffix(x.Target, ":80") {
		t.Errorf("the row does not name what is behind the port: %+v", x)
	}
	for _, e := range []explained{
		{"8.8.8.8", "9090", []string{"connects", "docker, ip filter chain DOCKER", "busybox", ":80"}},
		{"8.8.8.8", "22", []string{"dropped-here"}},
	} {
		e.check(t, i)
	}
	importChangesNothing(t, i, report)
	agree(t, w, i.audit())
	effectsAgree(t, w, i, 20, "ufw still refuses")
}

// explained is what explain must say of a packet.
type explained struct {
	from, port string
	says       []string
}

func (e explained) check(t *testing.T, i *installation) {
	t.Helper()
	out := i.explained("--from", e.from, "--port", e.port)
	for _, want := range e.says {
		if !strings.Contains(out, want) {
			t.Errorf("explain --from %s --port %s does not say %q:\n%s", e.from, e.port, want, out)
		}
	}
}

// explained is what explain prints, in one line and with the path.
func (i *installation) explained(args ...string) string {
	i.t.Helper()
	out := i.verb(append([]string{"explain", "--path"}, args...)...)
	out = strings.Join(strings.Fields(out), " ")
	return strings.NewReplacer("Let in by", "let in by", "Stopped by", "stopped by").Replace(out)
}

func found(t *testing.T, r audit.Report, kind audit.Kind, port uint16) {
	t.Helper()
	if !slices.ContainsFunc(
		r.Findings,
		func(f audit.Finding) bool { return f.Kind == kind && f.Port == port },
	) {
		t.Errorf("no finding %s for port %d: %+v", kind, port, r.Findings)
	}
}
