package policy

import (
	"os"
	"syscall"
	"testing"
)

// TestMain sets the permissions of files that tests make, independent of the machine's umask: Read
// refuses files that others may write.
func TestMain(m *testing.M) {
	syscall.Umask(0o022)
	os.Exit(m.Run())
}
