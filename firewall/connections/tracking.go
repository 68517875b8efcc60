package connections

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// Tracking is what the kernel's connection tracking (conntrack) does in this network namespace.
type Tracking struct {
	// State is "on" if packets are tracked, "off" if no rules ask for it. It is "unknown" if no
	// connection is tracked at the moment, and the kernel doesn't tell whether one would be (before
	// Linux 5.14, or without its list of hooks).
	State TrackingState `json:"state"`
	// Count is how many connections are tracked, and Limit how many may be: a packet that begins
	// one more is dropped. Both are 0 where the kernel's module isn't loaded.
	Count int `json:"count"`
	Limit int `json:"limit"`
}

// TrackingState says whether packets are tracked.
type TrackingState string

// States of connection tracking.
const (
	TrackingOn      TrackingState = "on"
	TrackingOff     TrackingState = "off"
	TrackingUnknown TrackingState = "unknown"
)

// Fill is the share of the table that is in use, 0 to 1.
func (t Tracking) Fill() float64 {
	if t.Limit == 0 {
		return 0
	}
	return float64(t.Count) / float64(t.Limit)
}

// Idle reports that no connection is tracked, as far as anybody can tell: rules that need tracking
// would be the first.
func (t Tracking) Idle() bool { return t.State != TrackingOn }

// procSys is where the kernel tells about tracking in the calling thread's namespace.
const procSys = "/proc/sys/net/netfilter/nf_conntrack_"

// ReadTracking looks at the calling thread's network namespace. It changes nothing.
func ReadTracking(ctx context.Context) (Tracking, error) {
	t := Tracking{State: TrackingUnknown}
	for name, into := range map[string]*int{"count": &t.Count, "max": &t.Limit} {
		b, err := os.ReadFile(procSys + name)
		if errors.Is(err, fs.ErrNotExist) {
			return Tracking{State: TrackingOff}, nil // no module, so nobody tracks
		}
		if err == nil {
			*into, err = strconv.Atoi(strings.TrimSpace(string(b)))
		}
		if err != nil {
			return t, fmt.Errorf("reading the fill of the connection table: %w", err)
		}
	}
	if t.Count > 0 {
		t.State = TrackingOn
		return t, nil
	}
	var err error
	t.State, err = trackingState(ctx)
	return t, err
}

// Attributes of an entry in the kernel's list of hooks
// (include/uapi/linux/netfilter/nfnetlink_hook.h).
const (
	subsystemHook    = 12 // NFNL_SUBSYS_HOOK
	hookGet          = 0  // NFNL_MSG_HOOK_GET
	hookNumber       = 1  // NFNLA_HOOK_HOOKNUM
	hookFunctionName = 4  // NFNLA_HOOK_FUNCTION_NAME
)

// trackingState looks for conntrack among the functions that packets meet as they come in. The
// kernel hooks it in with the first rule that needs it, and takes it out with the last one.
func trackingState(ctx context.Context) (TrackingState, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return TrackingUnknown, err
	}
	defer func() { _ = conn.Close() }()
	for family, function := range map[uint8]string{
		unix.NFPROTO_IPV4: "ipv4_conntrack_in",
		unix.NFPROTO_IPV6: "ipv6_conntrack_in",
	} {
		request := netlink.Netfilter(
			subsystemHook,
			hookGet,
			family,
			unix.NLM_F_DUMP,
			func(e *netlink.Encoder) {
				e.Uint32(hookNumber, unix.NF_INET_PRE_ROUTING)
			},
		)
		found, told := false, true
		err := conn.Ask(ctx, request, func(m netlink.Message) error {
			a, err := netlink.Parse(m.Attributes)
			name := a.String(hookFunctionName)
			found = found || strings.HasPrefix(name, function) // "ipv4_conntrack_in [nf_conntrack]"
			told = told && name != ""
			return err
		})
		var refused unix.Errno
		switch {
		case found:
			return TrackingOn, nil
		case errors.As(err, &refused) && refused != unix.EPERM && refused != unix.ENOENT,
			err == nil && !told:
			return TrackingUnknown, nil
		case err != nil && !errors.Is(err, unix.ENOENT): // ENOENT: nothing is hooked in
			return TrackingUnknown, fmt.Errorf("looking whether connections are tracked: %w", err)
		}
	}
	return TrackingOff, nil
}
