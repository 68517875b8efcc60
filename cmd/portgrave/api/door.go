package api

import (
	"context"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A connection costs a descriptor and some memory, which repairs need too. So a door counts who
// comes in: readers apart from those who may write, whom readers can't keep out.
//
//	up to MaxReaders, maxWriters   served
//	up to MaxWaiting more          their request is read, briefly, and answered with 503
//	the others                     503 at once
//
// The second row is there for clients: one that is still writing its request when the connection
// ends would see a broken connection rather than the answer.
const (
	MaxReaders = 64
	maxWriters = 256
	MaxWaiting = 64
	// MaxStreams is how many connections may follow events, of each of the two.
	MaxStreams = 64
	// turnedAwayPatience is how long the request of a connection is waited for that gets no other
	// answer.
	turnedAwayPatience = time.Second
	// readerPatience is how long a reader may take with an answer that is no stream.
	readerPatience = time.Minute
)

// Standing is how a connection is treated.
type Standing int

const (
	asReader Standing = iota
	asWriter
	turnedAway
	Standings
)

// bounds are how many connections of each standing there are at once.
var bounds = [Standings]int{asReader: MaxReaders, asWriter: maxWriters, turnedAway: MaxWaiting}

// door is a listener that lets in as many as bounds say. It is safe for use by several goroutines.
type door struct {
	net.Listener
	mu     sync.Mutex
	inside [Standings]int
}

// Accept implements net.Listener.
func (d *door) Accept() (net.Conn, error) {
	for {
		c, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		g := &guest{Conn: c, door: d, peer: peer(c), standing: asReader, came: time.Now()}
		if trusted(g.peer) {
			g.standing = asWriter
		}
		if d.enter(g.standing) {
			return g, nil
		}
		if g.standing = turnedAway; d.enter(turnedAway) {
			return g, nil
		}
		SendAway(c)
	}
}

func (d *door) enter(s Standing) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inside[s] >= bounds[s] {
		return false
	}
	d.inside[s]++
	return true
}

func (d *door) leave(s Standing) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inside[s]--
}

// goodbye is the answer to a connection that is not even read from: ErrBusy as Fail writes
// it.
var goodbye = func() []byte {
	body := `{"error":` + strconv.Quote(errCrowded.Error()) + `,"kind":"busy"}` + "\n"
	return []byte(
		"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n" +
			"Retry-After: 5\r\nContent-Length: " + strconv.Itoa(
			len(body),
		) + "\r\n\r\n" + body,
	)
}()

// SendAway answers and closes a connection without waiting for anything. What has come of a request
// is taken first: unread, it would end the connection with an error before the answer is seen
// (unix(7)).
func SendAway(c net.Conn) {
	_ = c.SetDeadline(
		time.Now().Add(turnedAwayPatience),
	) // the answer fits the buffer of a new connection
	_, _ = c.Write(goodbye)
	if s, ok := c.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			_ = raw.Read(func(fd uintptr) bool {
				var request [4 << 10]byte
				_, _, _ = unix.Recvfrom(int(fd), request[:], unix.MSG_DONTWAIT)
				return true
			})
		}
	}
	_ = c.Close()
}

// guest is a connection that was let in.
type guest struct {
	net.Conn
	door     *door
	peer     *unix.Ucred // nil if it is unknown, as of a TCP connection
	standing Standing
	came     time.Time
	gone     sync.Once
}

// Close implements net.Conn.
func (g *guest) Close() error {
	err := g.Conn.Close()
	g.gone.Do(func() { g.door.leave(g.standing) })
	return err
}

// CloseWrite has package net/http let the client read an answer to the end that came before the end
// of its request.
func (g *guest) CloseWrite() error {
	if c, ok := g.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// SetReadDeadline implements net.Conn. A client that is turned away has little time, whatever the
// server says.
func (g *guest) SetReadDeadline(t time.Time) error {
	if latest := g.came.Add(turnedAwayPatience); g.standing == turnedAway &&
		(t.IsZero() || t.After(latest)) {
		t = latest
	}
	return g.Conn.SetReadDeadline(t)
}

// errCrowded: all connections that the daemon serves at once are in use.
var errCrowded = Busy("too many connections at once; try again when others have ended")

// guestKey is where a connection stands in a request's context.
type guestKey struct{}

func withGuest(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, guestKey{}, c)
}

// guestOf is the connection of a request; one that knows nobody if there is none.
func guestOf(r *http.Request) *guest {
	if g, ok := r.Context().Value(guestKey{}).(*guest); ok {
		return g
	}
	return &guest{standing: asReader}
}

// StandingOf is the standing of a request's connection.
func StandingOf(r *http.Request) Standing { return guestOf(r).standing }

// receive answers those who are turned away, and lets no reader hold an answer for ever.
func receive(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch guestOf(r).standing {
		case turnedAway:
			w.Header().Set("Connection", "close")
			Crowded(w)
			return
		case asReader:
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(readerPatience))
		}
		h.ServeHTTP(w, r)
	})
}

// Crowded answers that too many are served already.
func Crowded(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "5")
	Fail(w, errCrowded)
}

// trusted reports whether a peer may change things: root, and the daemon's own user.
func trusted(peer *unix.Ucred) bool {
	return peer != nil && (peer.Uid == 0 || int(peer.Uid) == os.Geteuid())
}

// peer is who connected, as the kernel says (SO_PEERCRED, unix(7)); nil if it does not.
func peer(c net.Conn) *unix.Ucred {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return nil
	}
	var cred *unix.Ucred
	_ = raw.Control(func(fd uintptr) {
		cred, _ = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return cred
}
