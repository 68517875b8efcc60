package nfnetlink

import (
	"context"
	"errors"
	"testing"

	"github.com/portgrave/portgrave/firewall/backendtest"
	"golang.org/x/sys/unix"
)

func TestAsk(t *testing.T) {
	backendtest.Isolate(t)
	c, err := Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	getgen := Request{Subsystem: unix.NFNL_SUBSYS_NFTABLES, Kind: unix.NFT_MSG_GETGEN}
	answers := 0
	if err := c.Ask(context.Background(), getgen, func(m Message) error {
		a, err := Parse(m.Attributes)
		if !a.Has(unix.NFTA_GEN_ID) {
			t.Errorf("no generation in %+v", a)
		}
		answers++
		return err
	}); err != nil || answers != 1 {
		t.Fatalf("%d answers, %v", answers, err)
	}
	missing := Request{Subsystem: unix.NFNL_SUBSYS_NFTABLES, Kind: unix.NFT_MSG_GETTABLE, Family: 2, Attributes: AppendString(nil, unix.NFTA_TABLE_NAME, "none")}
	if err := c.Ask(context.Background(), missing, nil); !errors.Is(err, unix.ENOENT) {
		t.Errorf("a table that isn't there: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := c.Ask(ctx, getgen, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := c.Ask(context.Background(), getgen, func(Message) error { return nil }); err != nil {
		t.Errorf("after a cancelled request: %v", err)
	}
}

func FuzzMessages(f *testing.F) {
	f.Add(encode(Request{Subsystem: 10, Attributes: AppendString(nil, 1, "filter")}, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = eachMessage(b, func(h header, data []byte) (bool, error) {
			m, err := messageOf(h.kind, data)
			if err == nil {
				_, err = Parse(m.Attributes)
			}
			_ = errorOf(data)
			return false, err
		})
	})
}
