package xt

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/pattern"
)

var _ firewall.Filling = (*Backend)(nil)

// Fill implements firewall.Filling. It is an estimate: sources come and go while the kernel lists
// them.
func (b *Backend) Fill(ctx context.Context, services []string) ([]firewall.TableFill, error) {
	return b.kernel.fill(ctx, services)
}

// hashlimitFolders is where the kernel lists the tables of hashlimit, a file each with a line for
// each source (iptables-extensions(8), hashlimit).
var hashlimitFolders = map[address.Family]string{
	address.IPv4: "ipt_hashlimit", address.IPv6: "ip6t_hashlimit",
}

// rateTables are names that rateTable and logTable make.
var rateTables = pattern.New(`^pg-(.+)-\d+-\d+-\d+-\d+$`)

// fill implements kernel.
func (p *programs) fill(ctx context.Context, services []string) ([]firewall.TableFill, error) {
	named := map[string]string{}
	for _, s := range services {
		named[id(s)] = s
	}
	var out []firewall.TableFill
	for _, f := range address.Families {
		folder := filepath.Join(procNet, hashlimitFolders[f])
		files, err := os.ReadDir(folder)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the module isn't loaded
		}
		if err != nil {
			return nil, fmt.Errorf("listing tables of rates: %w", err)
		}
		for _, file := range files {
			t := firewall.TableFill{Family: f, Room: firewall.RateMemorySize}
			if m := rateTables.Regexp().FindStringSubmatch(file.Name()); m != nil &&
				named[m[1]] != "" {
				t.Service = named[m[1]]
			} else if file.Name() == logTable(f) {
				t.Room = firewall.LogMemorySize
			} else {
				continue
			}
			if t.Sources, err = countLines(ctx, filepath.Join(folder, file.Name())); err != nil {
				return nil, fmt.Errorf("counting sources of table %s: %w", file.Name(), err)
			}
			out = append(out, t)
		}
	}
	return out, nil
}

// countLines counts without keeping them. A file that has gone since it was listed has none.
func countLines(ctx context.Context, path string) (n int, err error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Close() }()
	lines := bufio.NewScanner(bufio.NewReaderSize(file, 1<<20))
	for lines.Scan() {
		if n++; n%1024 == 0 && ctx.Err() != nil {
			return n, ctx.Err()
		}
	}
	return n, lines.Err()
}
