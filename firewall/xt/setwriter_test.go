package xt

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// What is written comes back as it was, however many messages it takes, and none is longer than an
// attribute can be.
func TestElementsComeBack(t *testing.T) {
	now := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	for _, f := range address.Families {
		for _, n := range []int{0, 1, maxInMessage, 2*maxInMessage + 1} {
			for _, kind := range []setKind{kindNets, kindUntil} {
				want := &list{}
				for e := range (lasting{spread(f, n), f, n}).all() {
					if kind == kindUntil {
						e.until = now.Add(time.Hour)
					}
					want.add(e)
				}
				name := setName("web", kind, f, false)
				header := map[address.Family]string{
					address.IPv4: " family inet",
					address.IPv6: " family inet6",
				}[f]
				if kind == kindUntil {
					header += " timeout 0"
				}
				messages := setMessages("create " + name + " hash:net" + header + "\n")
				err := (fill{name, false, want}).messages(now, func(r netlink.Request) error {
					var e netlink.Encoder
					r.Attributes(&e)
					if len(e.Buf) > 60_000 {
						t.Errorf("a message of %d bytes", len(e.Buf))
					}
					messages = append(messages, netlink.Message{Attributes: e.Buf})
					return nil
				})
				r := newRuleset()
				if err == nil {
					err = readMessages(r, messages, now)
				}
				if err != nil {
					t.Fatal(err)
				}
				if got := slices.Collect(r.sets[name].elements.all()); !slices.Equal(
					got,
					slices.Collect(want.all()),
				) ||
					r.sets[name].unexpected > 0 {
					t.Errorf(
						"%s: %d elements of %d came back, %d unexpected, or others",
						name,
						len(got),
						n,
						r.sets[name].unexpected,
					)
				}
			}
		}
	}
}

func TestErrorsOfIpset(t *testing.T) {
	for err, says := range map[error]string{
		errSetFull:             "adding elements to ipset x: the set is full",
		unix.Errno(4103):       "adding elements to ipset x: the kernel answers with error 4103 of ipset",
		unix.EINVAL:            "it has no ipset",
		netlink.ErrMalformed:   "adding elements to ipset x: netlink: malformed message",
		firewall.ErrPermission: "adding elements to ipset x: not allowed",
	} {
		if got := (fill{set: "x"}).failed(err); !strings.Contains(got.Error(), says) {
			t.Errorf("%v: %v", err, got)
		}
	}
}

// The real kernel: what it refuses is said with the set's name and its own reason; an end of the
// context stops between two messages.
func TestFillSetsThatRefuse(t *testing.T) {
	backendtest.Isolate(t)
	some := lasting{spread(address.IPv4, 2_000), address.IPv4, 2_000}
	err := fillSets(t.Context(), []fill{{"PORTGRAVE-N4-none", false, some}}, time.Now)
	if !errors.Is(err, unix.ENOENT) ||
		!strings.Contains(err.Error(), "adding elements to ipset PORTGRAVE-N4-none") {
		t.Errorf("a set that isn't there: %v", err)
	}
	backendtest.Program(t, "", "ipset", "create", "PORTGRAVE-N4-small", "hash:net", "maxelem", "64")
	if err := fillSets(
		t.Context(), []fill{{"PORTGRAVE-N4-small", false, some}}, time.Now,
	); err == nil ||
		!strings.Contains(err.Error(), "the set is full") {
		t.Errorf("a set that is full: %v", err)
	}
	if err := fillSets(
		t.Context(), []fill{{"PORTGRAVE-N4-small", true, some}}, time.Now,
	); err != nil {
		t.Errorf("removing what isn't there: %v", err)
	}
	ended, stop := context.WithCancel(t.Context())
	stop()
	if err := fillSets(ended, []fill{{"PORTGRAVE-N4-small", false, some}}, time.Now); !errors.Is(
		err,
		context.Canceled,
	) {
		t.Errorf("after the end of the context: %v", err)
	}
}
