package exposure

import (
	"testing"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/hostview"
	"github.com/portgrave/portgrave/test/lab"
)

// readHost reads a node's exposure.Host.
func readHost(t testing.TB, n *lab.Node) *exposure.Host {
	t.Helper()
	var h *exposure.Host
	err := n.Do(func() (err error) {
		h, err = hostview.Read(t.Context())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}
