package rawsockets

import (
	"slices"
	"testing"
	"testing/fstest"

	"github.com/portgrave/portgrave/firewall"
)

const heading = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n"

func TestProtocols(t *testing.T) {
	net := fstest.MapFS{
		"raw": {Data: []byte(heading +
			"  112: 00000000:0070 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 2914 2 0000000000000000 0\n" +
			"    1: 00000000:0001 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 2915 2 0000000000000000 0\n" +
			"  255: 00000000:00FF 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 2916 2 0000000000000000 0\n" +
			"    6: 00000000:0006 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 2917 2 0000000000000000 0\n")},
		"raw6": {Data: []byte(heading +
			"  112: 00000000000000000000000000000000:0070 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 2918 2 0 0\n" +
			"   89: 00000000000000000000000000000000:0059 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 2919 2 0 0\n")},
	}
	got, err := Protocols(net)
	if want := []firewall.Protocol{89, firewall.VRRP}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	if got, err := Protocols(fstest.MapFS{}); err != nil || len(got) > 0 {
		t.Errorf("without a table: %v, %v", got, err)
	}
	if _, err := Protocols(fstest.MapFS{"raw": {Data: []byte(heading + "x y\n")}}); err == nil {
		t.Error("an invalid table is accepted")
	}
	if _, err := Protocols(Here); err != nil {
		t.Errorf("the kernel's own: %v", err)
	}
}
