package boot

import (
	"os"
	"regexp"
	"testing"
)

// The tests of this package have the build tag boot, because they take minutes. This test checks
// that make test runs them.
func TestMakeTestBoots(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^test:.*\n(\t.*\n)*\t.*test-boot$`).Match(makefile) {
		t.Error("make test does not run make test-boot, so that nobody boots a virtual machine")
	}
	if !regexp.MustCompile(`(?m)^test-boot:.*\n(\t.*\n)*\t.*-tags boot.* ./test/boot$`).Match(makefile) {
		t.Error("make test-boot does not run the tests with the tag boot")
	}
	t.Log("the virtual machines are started by make test-boot")
}
