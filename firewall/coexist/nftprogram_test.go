package coexist

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCannotPrint(t *testing.T) {
	for name, c := range map[string]struct {
		versions []string // of nft in each folder; "" has none
		want     string   // part of the reason; "" if all programs can print
	}{
		"none":             {[]string{"", ""}, ""},
		"Debian 12":        {[]string{"nftables v1.0.6 (Lester Gooch #5)\n"}, "nft 1.0.6"},
		"1.0.9":            {[]string{"nftables v1.0.9 (Old Doc Yak #3)\n"}, "can't print"},
		"0.9":              {[]string{"nftables v0.9.8 (E.D.S.)\n"}, "nft 0.9.8"},
		"Debian 13":        {[]string{"nftables v1.1.3 (Commodore Bullmoose #4)\n"}, ""},
		"2":                {[]string{"nftables v2.0\n"}, ""},
		"1.10":             {[]string{"nftables v1.10.0\n"}, ""},
		"old and new":      {[]string{"nftables v1.1.3\n", "nftables v1.0.6\n"}, "nft 1.0.6"},
		"something else":   {[]string{"hello"}, `says "hello"`},
		"one that fails":   {[]string{"fail"}, "doesn't tell its version"},
		"in second folder": {[]string{"", "nftables v1.1.0\n"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			n := NFTPrograms{Version: readVersion}
			for _, v := range c.versions {
				n.Folders = append(n.Folders, t.TempDir())
				if v != "" {
					installNFT(t, n.Folders[len(n.Folders)-1], v)
				}
			}
			got := n.CannotPrint()
			if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// A program is asked again only when it was replaced.
func TestVersionsAreCached(t *testing.T) {
	dir, asked := t.TempDir(), 0
	n := NFTPrograms{
		Folders: []string{dir, dir},
		Version: func(path string) (string, error) { asked++; return readVersion(path) },
	}
	for _, step := range []struct {
		version string // "" leaves the program as it is
		ok      bool
		asked   int
	}{
		{"nftables v1.0.6", false, 1},
		{"", false, 1},
		{"nftables v1.1.0!", true, 2},
		{"", true, 2},
		{"gone", true, 2},
		{"nftables v1.0.9", false, 3},
	} {
		switch step.version {
		case "":
		case "gone":
			if err := os.Remove(filepath.Join(dir, "nft")); err != nil {
				t.Fatal(err)
			}
		default:
			installNFT(t, dir, step.version)
		}
		if got := n.CannotPrint(); (got == "") != step.ok || asked != step.asked {
			t.Errorf("after %q: %q, asked %d times", step.version, got, asked)
		}
	}
}

// Folders and files that are not executable are ignored.
func TestOnlyProgramsAreAsked(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	if err := os.Mkdir(filepath.Join(a, "nft"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b, "nft"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	n := NFTPrograms{Folders: []string{a, b, "/nowhere"}, Version: readVersion}
	if got := n.CannotPrint(); got != "" {
		t.Error(got)
	}
}

// installNFT writes a file that contains its version, and renames it as a package manager does.
func installNFT(t *testing.T, dir, version string) {
	t.Helper()
	path := filepath.Join(dir, "nft")
	err := os.WriteFile(path+".new", []byte(version), 0o755)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err == nil { // the two versions' times must differ, even on a coarse clock
		at := time.Now().Add(time.Duration(len(version)) * time.Second)
		err = os.Chtimes(path, at, at)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func readVersion(path string) (string, error) {
	b, err := os.ReadFile(path)
	if string(b) == "fail" {
		return "", errors.New("exit status 1")
	}
	return string(b), err
}
