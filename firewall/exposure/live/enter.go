package live

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/hostview"
	"github.com/portgrave/portgrave/firewall/exposure/sockets"
	"github.com/portgrave/portgrave/firewall/netlink"
)

// Bounds on reading other namespaces.
const (
	maxEntered   = 64
	enterTimeout = 3 * time.Second // for all of them
)

var errManyNamespaces = errors.New("too many network namespaces to look into")

// enter makes the function that reads the rules and the host of another namespace of a snapshot.
// What it says is remembered; it may be called by several goroutines.
func enter(
	ctx context.Context,
	s sockets.Snapshot,
) func(uint64) (*exposure.Ruleset, *exposure.Host, error) {
	type known struct {
		rules *exposure.Ruleset
		host  *exposure.Host
		err   error
	}
	var mu sync.Mutex
	entered := map[uint64]known{}
	left := enterTimeout
	return func(inode uint64) (*exposure.Ruleset, *exposure.Host, error) {
		mu.Lock()
		defer mu.Unlock()
		k, ok := entered[inode]
		switch {
		case ok:
		case len(entered) == maxEntered || left <= 0:
			k.err = errManyNamespaces
		default:
			begin := time.Now()
			within, cancel := context.WithTimeout(ctx, left)
			k.rules, k.host, k.err = readInside(within, s, inode)
			cancel()
			left -= time.Since(begin)
			entered[inode] = k
		}
		return k.rules, k.host, k.err
	}
}

// readInside reads a namespace on a thread of its own, which ends in it.
func readInside(
	ctx context.Context,
	s sockets.Snapshot,
	inode uint64,
) (rules *exposure.Ruleset, host *exposure.Host, err error) {
	file, err := s.Open(inode)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = file.Close() }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread never comes back from the other namespace
		if err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("entering network namespace %d: %w", inode, netlink.Explain(err))
			return
		}
		if host, err = hostview.Read(ctx); err == nil {
			rules, err = Rules(ctx, host)
		}
	}()
	<-done
	return rules, host, err
}
