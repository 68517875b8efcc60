package lease

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall"
)

// FuzzDecode: whatever is in a file, reading it never panics; what is accepted is a lease, bounded
// and fit for Apply, and comes back from the disk as it is.
func FuzzDecode(f *testing.F) {
	for _, l := range []Lease{
		leaseOf("203.0.113.7/32", tcp(80, 80)), leaseOf("2001:db8::/48", tcp(1, 9), udp(1, 65535)),
	} {
		body, err := encode(file{l, originOf(*atNoon())})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Add(
		[]byte(
			`{"lease":{"id":"bcdfgh","ports":["1,2,udp/3"],"sources":["::/0","10.0.0.0/8"],"opened":"2026-11-23T12:00:00.5+01:00","until":"9999-12-31T23:59:59Z"}}`,
		),
	)
	policy := stateOf(f, firewall.Service{Name: "web", Ports: []firewall.PortRange{tcp(80, 8000)}})
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := decode(body)
		if err != nil {
			return
		}
		l := got.lease
		if !isID(l.ID) || l.check() != nil || l.Length() <= 0 || l.Until.Location() != time.UTC {
			t.Fatalf("accepted: %+v", l)
		}
		out, err := Apply(policy, []Lease{l.atClock(got.origin, *atNoon())}, l.Opened)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := out.Canonical(); err != nil || !c.Equal(out) {
			t.Fatalf("not canonical: %v, %v", lines(out), err)
		}
		again, err := encode(got)
		if err != nil {
			t.Fatalf("can't be written again: %v", err)
		}
		back, err := decode(again)
		if err != nil || !cmp.Equal(back.lease, l) {
			t.Fatalf("came back as %+v, %v", back, err)
		}
	})
}
