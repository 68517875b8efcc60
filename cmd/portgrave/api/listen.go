package api

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// readers is the group whose members may read from the control socket.
const readers = "portgrave"

// Listen makes the control socket in a run directory. The caller holds the daemon's lock there, so
// that a socket that stands there already is a dead daemon's.
func Listen(runDir string, log *slog.Logger) (net.Listener, error) {
	path := filepath.Join(runDir, Socket)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	old := unix.Umask(0o177) // nobody else may connect before the permissions are as they shall be
	l, err := net.Listen("unix", path)
	unix.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if g, err := user.LookupGroup(readers); err == nil {
		gid, _ := strconv.Atoi(g.Gid)
		if err := admit(path, gid); err != nil {
			log.Warn(
				"members of the group can't use the control socket",
				"group",
				readers,
				"error",
				err,
			)
		}
	}
	return l, nil
}

// Serve answers on a listener, beside the caller, what comes in through a door, until the server is
// closed. It sets what is the same for all sockets; the server's handler and other times are the
// caller's.
func Serve(s *http.Server, l net.Listener) {
	s.Handler, s.ConnContext, s.MaxHeaderBytes = receive(s.Handler), withGuest, 1<<14
	s.ReadHeaderTimeout, s.IdleTimeout = 5*time.Second, time.Minute
	go func() { _ = s.Serve(&door{Listener: l}) }()
}

// admit lets a group use the socket at a path. The folder may belong to a user who puts a link
// there meanwhile, so what is changed is what was opened.
func admit(path string, gid int) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	var s unix.Stat_t
	if err := unix.Fstat(fd, &s); err != nil {
		return err
	}
	if s.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return fmt.Errorf("%s is not a socket any more", path)
	}
	if gid != os.Getegid() {
		err = unix.Fchownat(fd, "", -1, gid, unix.AT_EMPTY_PATH)
	} // else it is the group's already, and a filter of system calls may refuse to say so again
	// chmod(2) of what a descriptor leads to, which fchmod(2) refuses with O_PATH.
	return errors.Join(err, os.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), 0o660))
}

// MayWrite is a Server's: it lets root, and the daemon's own user, change things.
func MayWrite(r *http.Request) (name string, ok bool) {
	cred := guestOf(r).peer
	if !trusted(cred) {
		return "", false
	}
	name = strconv.Itoa(int(cred.Uid))
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	return name, true
}
