package lab

import (
	"os"
	"path/filepath"
)

// ModuleFolder returns the folder of the module, the nearest above the working folder that has a
// go.mod, or the working folder if there is none. Source positions don't tell: with -trimpath they
// name the module instead.
func ModuleFolder() string {
	at, err := os.Getwd()
	if err != nil {
		return "."
	}
	for dir := at; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			return at
		}
	}
}
