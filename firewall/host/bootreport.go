package host

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/portgrave/portgrave/firewall/host/statefiles"
)

// bootReport is the name of the file in the run directory, which a reboot empties.
const bootReport = "boot.json"

// KeepBooted keeps what a boot has done for later questions. Everybody may read it.
func KeepBooted(runDir string, b Booted) error {
	content, err := json.Marshal(b)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return fmt.Errorf("what the boot did can't be kept for status: %w", err)
	}
	path := filepath.Join(runDir, bootReport)
	if err := statefiles.WriteForAll(path, statefiles.Bytes(append(content, '\n'))); err != nil {
		return fmt.Errorf("what the boot did can't be kept for status: %w", err)
	}
	return nil
}

// LastBooted is what the boot of this start of the system has done; nil if there was none, as on a
// host where portgrave was never part of it.
func LastBooted(runDir, bootID string) *Booted {
	b := readBooted(runDir)
	if b == nil || b.BootID != bootID {
		return nil // of an earlier start, in a directory that outlived it
	}
	return b
}

// FellBackFrom reports whether the last boot put something else in force than generation n, the
// newest then. It needs no boot ID, which differs inside a service of systemd-nspawn: as long as n
// is the newest, nothing was applied since that boot.
func FellBackFrom(runDir string, n int) bool {
	b := readBooted(runDir)
	return b != nil && n > 0 && b.Newest == n &&
		(b.Loaded == LoadedPolicy || b.Loaded == LoadedClosed || b.Loaded == LoadedOpen)
}

// readBooted is the report of the last boot; nil if there is none that can be read.
func readBooted(runDir string) *Booted {
	content, err := statefiles.Read(filepath.Join(runDir, bootReport))
	if err != nil {
		return nil
	}
	var b Booted
	if json.Unmarshal(content, &b) != nil {
		return nil
	}
	return &b
}

// Well reports whether the boot put in force what was in force before.
func (b Booted) Well() bool { return b.Error == "" && len(b.Fallbacks) == 0 }
