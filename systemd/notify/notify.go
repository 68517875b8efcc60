// Package notify communicates with systemd: it sends readiness, reload, status and watchdog
// messages (sd_notify(3)), and log lines with fields for the journal.
//
// It uses go-systemd and adds what that lacks: the reload of Type=notify-reload, a watchdog for one
// loop, and a slog.Handler. Without systemd every call does nothing, so callers need not check. It
// never blocks for long: a message that systemd does not accept at once is lost.
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

// Ready reports that the service works, or works again after a reload. status is a line for people.
func Ready(status string) { send("READY=1\nSTATUS=" + oneLine(status)) }

// Status sets the line that systemctl status shows.
func Status(status string) { send("STATUS=" + oneLine(status)) }

// Stopping reports that the service is about to end.
func Stopping() { send("STOPPING=1") }

// Reloading reports that the service rereads its configuration; Ready ends that. Type=notify-reload
// requires the time by the monotonic clock.
func Reloading() {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	send(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", t.Nano()/1000))
}

// Alive reports that the main loop still runs.
func Alive() { send("WATCHDOG=1") }

// Watchdog returns a ticker that ticks twice as often as systemd expects Alive, or never if systemd
// doesn't expect it.
func Watchdog() *time.Ticker {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil || every < 2 {
		t := time.NewTicker(time.Hour)
		t.Stop()
		return t
	}
	return time.NewTicker(every / 2)
}

// socket connects to systemd. It stays open, because a service without free descriptors must still
// report that it is alive.
var socket struct {
	mu      sync.Mutex
	address string
	conn    *net.UnixConn
}

// send is SdNotify of go-systemd with a socket that stays open.
func send(state string) {
	address := os.Getenv("NOTIFY_SOCKET")
	if address == "" {
		return
	}
	socket.mu.Lock()
	defer socket.mu.Unlock()
	for range 2 { // systemd may have restarted, with another socket of that name
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

// oneLine removes line ends, so that a status can't contain further assignments.
func oneLine(s string) string {
	out := []rune(s)
	for i, r := range out {
		if r == '\n' || r == '\r' {
			out[i] = ' '
		}
	}
	return string(out)
}
