package policy

import (
	"os"
	"syscall"
	"testing"
)

// TestMain sets the permissions of files that the tests make, which must not hang on how the
// machine is set up: Read refuses what others may write.
func TestMain(m *testing.M) {
	syscall.Umask(0o022)
	os.Exit(m.Run())
}
