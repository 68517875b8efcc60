package lab

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"
)

// RoundTrip connects over TCP to a port of ListenTCP, exchanges a line, and returns the name of the
// node that answered. It proves more than Connect: data passes in both directions after the
// handshake.
func (n *Node) RoundTrip(to netip.AddrPort, opts ...Option) (string, error) {
	deadline := time.Now().Add(options(opts).timeout)
	ctx, cancel := context.WithDeadline(n.ctx, deadline)
	defer cancel()
	c, err := n.Dial(ctx, "tcp", to.String(), opts...)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(deadline)
	const line = "are you there?\n"
	if _, err := io.WriteString(c, line); err != nil {
		return "", fmt.Errorf("sending to %v: %w", to, err)
	}
	in := bufio.NewReader(c)
	banner, err := in.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("connected to %v, but no banner came: %w", to, err)
	}
	if echo, err := in.ReadString('\n'); echo != line {
		return "", fmt.Errorf("connected to %v, but %q came back (%v)", to, echo, err)
	}
	return strings.TrimSpace(banner), nil
}
