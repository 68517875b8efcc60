package main

import (
	"errors"
	"net/netip"
	"regexp"

	"github.com/urfave/cli/v2"
)

// parseError is what the flags' parser says of a value that isn't a number.
var parseError = regexp.MustCompile(`^invalid value "(.*)" for flag -([a-z-]+): parse error$`)

// usageError says in plain words what is wrong with a flag.
func usageError(_ *cli.Context, err error, _ bool) error {
	if m := parseError.FindStringSubmatch(err.Error()); m != nil {
		return errors.New("--" + m[2] + ` takes a number, not "` + m[1] + `"`)
	}
	return err
}

// addressOf is the address that a flag names.
func (inv *invocation) addressOf(flag string) (netip.Addr, error) {
	text := inv.cli.String(flag)
	a, err := netip.ParseAddr(text)
	if err != nil {
		return a, usagef("--%s takes an address such as 203.0.113.7, not %q", flag, text)
	}
	return a, nil
}
