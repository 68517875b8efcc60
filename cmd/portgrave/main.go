// Command portgrave is the host firewall and exposure manager.
//
// This package is the command line alone: one file a verb, each of which parses its arguments,
// calls the packages that do the work, and prints. The rules of the user interface stand at the top
// of ui.go. It never decides what is enforced.
package main

import (
	"os"
	"runtime/debug"
)

// version is stamped by the build.
var version = "devel"

func main() {
	// A crash ends by signal: as Go does it by itself, it would end with 2, which says that there
	// is something to report.
	debug.SetTraceback("crash")
	os.Exit(run(os.Args, os.Stdout, os.Stderr, os.Getenv))
}
