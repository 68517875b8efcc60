package boot

import (
	"os"
	"regexp"
	"testing"
)

// The tests of this package have the build tag boot, because they take minutes. This test checks
// that make test runs a sample of them.
func TestMakeTestBoots(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^test:.*\n(\t.*\n)*\t.*vm SAMPLE=1$`).Match(makefile) {
		t.Error("make test does not run make vm, so that nobody boots a virtual machine")
	}
	if !regexp.MustCompile(`(?m)^vm:.*\n(\t.*\n)*\t.*-tags boot.* ./test/boot$`).Match(makefile) {
		t.Error("make vm does not run the tests with the tag boot")
	}
	t.Log("the virtual machines are started by make vm")
}
