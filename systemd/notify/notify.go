// Package notify is how a service speaks with systemd: readiness, reload, status and watchdog
// (sd_notify(3)), and log lines that keep their fields in the journal.
//
// It builds on go-systemd and adds what that lacks: the reload of Type=notify-reload, a watchdog
// for one loop, and a slog.Handler. Without a systemd every call does nothing, so callers need not
// ask. It never blocks for long: what systemd does not take at once is lost.
package notify

import (
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// Ready says that the service does its work, or does it again after a reload; status is a line for
// people.
func Ready(status string) { send("READY=1\nSTATUS=" + oneLine(status)) }

// Status is a line for people, for systemctl status.
func Status(status string) { send("STATUS=" + oneLine(status)) }

// Stopping says that the service is about to end.
func Stopping() { send("STOPPING=1") }

// Reloading says that the service reads its configuration again; Ready ends that. The time is what
// Type=notify-reload wants to hear, by the monotonic clock.
func Reloading() {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	send(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", t.Nano()/1000))
}

// Alive says that the loop goes round.
func Alive() { send("WATCHDOG=1") }

// Watchdog ticks twice as often as systemd wants to hear Alive; never, if it does not want to.
func Watchdog() *time.Ticker {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil || every < 2 {
		t := time.NewTicker(time.Hour)
		t.Stop()
		return t
	}
	return time.NewTicker(every / 2)
}

// socket leads to systemd. It stays open: a service that has no descriptor left must still say that
// it lives.
var socket struct {
	mu      sync.Mutex
	address string
	conn    *net.UnixConn
}

// send is SdNotify of go-systemd over a socket that stays open.
func send(state string) {
	address := os.Getenv("NOTIFY_SOCKET")
	if address == "" {
		return
	}
	socket.mu.Lock()
	defer socket.mu.Unlock()
	for range 2 { // systemd may have been started anew, with another socket of that name
		if socket.conn == nil || socket.address != address {
			if socket.conn != nil {
				_ = socket.conn.Close()
			}
			c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: address, Net: "unixgram"})
			if err != nil {
				socket.conn = nil
				return
			}
			socket.conn, socket.address = c, address
		}
		if _, err := socket.conn.Write([]byte(state)); err == nil {
			return
		}
		_ = socket.conn.Close()
		socket.conn = nil
	}
}

// oneLine keeps what a status says from being read as further assignments.
func oneLine(s string) string {
	out := []rune(s)
	for i, r := range out {
		if r == '\n' || r == '\r' {
			out[i] = ' '
		}
	}
	return string(out)
}
