package xt

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/pattern"
)

// detect finds the host's programs. Distributions install one variant or both, as iptables,
// iptables-legacy and iptables-nft; "iptables" is whichever the administrator has chosen. find
// looks a program up by name, "" if it is not there.
func detect(ctx context.Context, find func(name string) string) (*programs, error) {
	p := &programs{
		commands: map[program]commands{},
		now:      time.Now,
		lockWait: defaultLockWait,
		families: []address.Family{address.IPv4},
	}
	if _, err := os.Stat(procNet + "/if_inet6"); err == nil { // the kernel speaks IPv6
		p.families = address.Families
	}
	var seen []string
	for _, f := range address.Families {
		base := baseNames[f]
		for _, name := range []string{base, base + "-nft", base + "-legacy"} {
			path := find(name)
			if path == "" {
				continue
			}
			v, err := p.variantOf(ctx, path)
			if err != nil {
				return nil, err
			}
			seen = append(seen, fmt.Sprintf("%s (%s)", name, v))
			c := commands{save: find(name + "-save"), restore: find(name + "-restore")}
			if _, have := p.commands[program{v, f}]; have || c.save == "" || c.restore == "" {
				continue
			}
			if c.IPTables, err = openTables(path, f); err != nil {
				return nil, err
			}
			p.commands[program{v, f}] = c
			if p.variant == "" {
				p.variant = v
			}
		}
	}
	p.ipset = find("ipset")
	if p.variant == "" {
		return nil, fmt.Errorf("%w: there is no iptables program; install the package iptables",
			firewall.ErrUnsupported)
	}
	if !p.complete(p.variant) {
		if p.variant = otherVariant(p.variant); !p.complete(p.variant) {
			return nil, fmt.Errorf(
				"%w: the kernel speaks IPv4 and IPv6, and the programs for only one of "+
					"them are there (%s): the other would stay open; install the package iptables",
				firewall.ErrUnsupported,
				strings.Join(seen, ", "),
			)
		}
	}
	return p, nil
}

// complete reports whether a variant has programs for every family that the kernel speaks.
func (p *programs) complete(v variant) bool {
	for _, f := range p.families {
		if _, ok := p.commands[program{v, f}]; !ok {
			return false
		}
	}
	return true
}

func otherVariant(v variant) variant {
	if v == legacy {
		return nfVariant
	}
	return legacy
}

// find looks a program up in PATH and where system programs are: root's PATH after su may lack
// those.
func find(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	return ""
}

var versionLine = pattern.New(`v\d+\.\d+\.\d+(?:\s+\((\w+)\))?`)

// variantOf is which variant a program is. One that bears a variant's name is it; of the other only
// --version tells, since 1.8: "iptables v1.8.9 (nf_tables)". Before, there was but one.
func (p *programs) variantOf(ctx context.Context, path string) (variant, error) {
	switch {
	case strings.HasSuffix(path, "-nft"):
		return nfVariant, nil
	case strings.HasSuffix(path, "-legacy"):
		return legacy, nil
	}
	out, err := p.output(ctx, path, "--version")
	if err != nil {
		return "", err
	}
	m := versionLine.Regexp().FindStringSubmatch(string(out))
	switch {
	case m == nil:
		return "", fmt.Errorf("%s --version says %q, which is no version of iptables", path,
			strings.TrimSpace(string(out)))
	case m[1] == string(nfVariant):
		return nfVariant, nil
	}
	return legacy, nil
}
