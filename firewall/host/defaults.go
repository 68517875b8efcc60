package host

import "cmp"

// Where a host's firewall is kept unless PORTGRAVE_STATE_DIR and PORTGRAVE_RUN_DIR say otherwise.
const (
	DefaultStateDir = "/var/lib/portgrave"
	DefaultRunDir   = "/run/portgrave" // a reboot empties it
)

// Dirs are the state and run directories, as the environment says or by default.
func Dirs(getenv func(string) string) (state, run string) {
	return cmp.Or(getenv("PORTGRAVE_STATE_DIR"), DefaultStateDir),
		cmp.Or(getenv("PORTGRAVE_RUN_DIR"), DefaultRunDir)
}
