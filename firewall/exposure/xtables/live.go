package xtables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"time"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/iptsave"
)

// Run runs a program and returns what it printed to its standard output. An error that wraps
// exec.ErrNotFound says that there is no such program; any other should hold what it printed to its
// standard error.
type Run func(ctx context.Context, name string, args ...string) ([]byte, error)

// LiveSets are the host's ipsets, asked for with `ipset save` when a rule first names one, and not
// otherwise.
func LiveSets(ctx context.Context, run Run, now time.Time) *Sets {
	s := NewSets()
	s.why = "ipset %s isn't there, though a rule names it"
	s.load = func() error {
		out, err := run(ctx, "ipset", "save")
		if err == nil && len(out) > exposure.MaxText {
			err = fmt.Errorf("more than %d MiB", exposure.MaxText>>20)
		}
		if err != nil {
			return fmt.Errorf("ipset save: %w", err)
		}
		return readSets(source{name: "ipset save"}, out, now, s.sets)
	}
	return s
}

// ReadLegacy adds the legacy tables of the calling thread's network namespace.
//
// Only those are asked for that are in use (iptsave.LegacyTables). proc is /proc. What can't be had
// (no privilege, no program) goes to rs.Missing; an error is one of reading what was printed.
func ReadLegacy(ctx context.Context, proc fs.FS, run Run, sets *Sets, rs *exposure.Ruleset) error {
	for _, f := range []struct {
		version address.Family
		family  exposure.Family
		program string
	}{
		{address.IPv4, exposure.FamilyIPv4, "iptables"},
		{address.IPv6, exposure.FamilyIPv6, "ip6tables"},
	} {
		tables, err := iptsave.LegacyTables(proc, f.version)
		if err != nil {
			rs.Missing = append(rs.Missing,
				exposure.Missing{Family: f.family, What: "legacy tables", Why: err.Error()})
			continue
		}
		for _, table := range tables {
			out, err := save(ctx, run, f.program, table)
			if err != nil {
				rs.Missing = append(rs.Missing, exposure.Missing{
					Family: f.family,
					What:   fmt.Sprintf("legacy table %s %s", f.family, table),
					Why:    err.Error(),
				})
				continue
			}
			src := source{name: f.program + "-legacy-save -t " + table}
			if err := readSave(src, f.family, out, sets, rs); err != nil {
				return err
			}
		}
	}
	return nil
}

// save runs iptables-legacy-save, or iptables-save where the system is from the time before there
// were two.
func save(ctx context.Context, run Run, program, table string) ([]byte, error) {
	out, err := run(ctx, program+"-legacy-save", "-t", table)
	if errors.Is(err, exec.ErrNotFound) {
		version, verr := run(ctx, program+"-save", "--version")
		if verr != nil || bytes.Contains(version, []byte("nf_tables")) {
			return nil, err
		}
		out, err = run(ctx, program+"-save", "-t", table)
	}
	if err == nil && len(out) > exposure.MaxText {
		err = fmt.Errorf("more than %d MiB", exposure.MaxText>>20)
	}
	return out, err
}
