package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/connections"
	"github.com/portgrave/portgrave/firewall/exposure/sockets"
	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/policy"
)

// initialized is the result of init. Its JSON is a contract.
type initialized struct {
	Path    string `json:"path"` // where the policy is, or would be
	Written bool   `json:"written"`
	Policy  string `json:"policy"`
	// SSH are the ports of the SSH server, Logins the sources that it is open to, and Listening how
	// many other ports something listens on.
	SSH       []uint16 `json:"ssh"`
	Logins    []string `json:"logins"`
	Listening int      `json:"listening"`
}

// initPolicy writes a first policy that keeps the caller's SSH, and lists what listens.
func initPolicy(inv *invocation) error {
	word := inv.cli.Args().First()
	if word != "" && word != "-" {
		return usagef("unexpected argument %q: write --config %s, or - for standard output",
			word, word)
	}
	path := firstPath(inv.config)
	printOnly := word == "-" || inv.cli.Bool("dry-run")
	if !printOnly && !inv.cli.Bool("force") {
		if err := nothingThere(path, path != inv.config); err != nil {
			return err
		}
	}
	f, err := firstPolicy(inv)
	if err != nil {
		return err
	}
	text := f.Document()
	if err := readsBack(inv, f, text); err != nil {
		return err
	}
	if !printOnly {
		if err := writePolicy(path, text); err != nil {
			return err
		}
	}
	result := initialized{path, !printOnly, text, orEmpty(f.SSH), f.Logins.Strings(),
		len(f.Listening)}
	switch {
	case inv.screen.json:
		return inv.screen.object(result)
	case printOnly:
		inv.screen.printf("%s", text)
		if inv.cli.Bool("dry-run") {
			inv.screen.notef("nothing was written (--dry-run); it would be %s", path)
		}
		return nil
	}
	inv.screen.sentence(fmt.Sprintf("Wrote %s: %s. Read it, then run: portgrave plan%s", path,
		firstWords(f), configFlag(inv)))
	return nil
}

// firstPath is where the first policy of --config belongs: a folder has it in policy.yaml,
// or in policy.yml if that is there.
func firstPath(config string) string {
	if config == "" {
		config = policy.DefaultPath
	}
	info, err := os.Stat(config)
	isFile := strings.HasSuffix(config, ".yaml") || strings.HasSuffix(config, ".yml")
	if err == nil && info.IsDir() || err != nil && !isFile {
		path := filepath.Join(config, "policy.yaml")
		other := filepath.Join(config, "policy.yml")
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			if _, err := os.Lstat(other); err == nil {
				return other
			}
		}
		return path
	}
	return config
}

// nothingThere refuses to write where there is a policy, and says what to do. folder: the policy is
// the folder of path, with all that belongs to it.
func nothingThere(path string, folder bool) error {
	info, err := os.Stat(path)
	builtIn := false
	if own := policy.DefaultYAML(); err == nil && info.Mode().IsRegular() &&
		info.Size() == int64(len(own)) {
		text, _ := os.ReadFile(path)
		builtIn = string(text) == string(own)
	}
	switch {
	case builtIn:
		return fmt.Errorf("%s is there already: it is the built-in policy, unchanged, which "+
			"portgrave init --force replaces", path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", firewall.ErrPermission, err)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there can't be a policy: %w", err)
	case err == nil:
		return fmt.Errorf("%s is there already: portgrave plan shows what it would change; "+
			"portgrave init --force replaces it, portgrave init - only prints a new one", path)
	}
	if !folder {
		return nil
	}
	dropIns, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "policy.d", "*.yaml"))
	if len(dropIns) > 0 {
		return fmt.Errorf("%s is there already and lists services of its own: compare it with "+
			"portgrave init -, or write beside it with portgrave init --force", dropIns[0])
	}
	return nil
}

// firstPolicy looks at the host: who is logged in, and what listens.
func firstPolicy(inv *invocation) (policy.First, error) {
	f := policy.First{At: time.Now()}
	f.Host, _ = os.Hostname()
	listening, err := sockets.Read(inv.ctx)
	if err != nil {
		return f, fmt.Errorf("reading what listens: %w", err)
	}
	for _, u := range listening.Unread {
		inv.screen.detailf("%v", u) // then a program is unknown, which its comment says
	}
	if inv.cli.IsSet("from") {
		if f.Logins, err = inv.reader().Sources(inv.cli.StringSlice("from")...); err != nil {
			return f, usagef("--from: %w", err)
		}
	}
	sessions, err := sshSessions(inv)
	if err != nil {
		return f, err
	}
	for _, s := range sessions {
		f.SSH = append(f.SSH, s.Dialled.Port())
		f.Logins = f.Logins.Union(address.Must(
			netip.PrefixFrom(s.Client.Addr(), s.Client.Addr().BitLen()).String()))
	}
	for _, l := range listening.Current() {
		if l.Loopback() || l.Multicast() {
			continue
		}
		// A program at SSH's own port is taken for an SSH server, whatever its name.
		if l.Protocol == firewall.TCP && (isSSHServer(l) || l.Port == sshPort) {
			f.SSH = append(f.SSH, l.Port)
			continue
		}
		f.Listening = append(f.Listening, listeningOf(l))
	}
	slices.Sort(f.SSH)
	f.SSH = slices.Compact(f.SSH)
	f.Listening = slices.DeleteFunc(f.Listening, func(l policy.Listening) bool {
		return l.Port.Protocol == firewall.TCP && slices.Contains(f.SSH, l.Port.First)
	})
	switch {
	case len(f.SSH) == 0 && f.Logins.Len() > 0: // a server that is yet to come
		f.SSH = []uint16{sshPort}
	case len(f.SSH) > 0 && f.Logins.Len() == 0:
		return f, usagef("an SSH server listens on tcp/%d, and no session shows whom to let in: "+
			"write portgrave init --from 203.0.113.7", f.SSH[0])
	}
	return f, nil
}

// sshSessions are the SSH sessions that are open now: that of the caller, as its environment has
// it, and those that the lock-out check of apply would find.
func sshSessions(inv *invocation) ([]firewall.Connection, error) {
	var own firewall.Connection
	if client, server, ok := connections.Session(inv.getenv); ok {
		own = firewall.Connection{Protocol: firewall.TCP, Client: client, Dialled: server}
	}
	var running []firewall.Connection
	name := func([]firewall.Connection) {}
	if list, err := connections.New(); err == nil {
		running, err = list.List(inv.ctx)
		if err != nil {
			inv.screen.warnf("who is logged in can't be read: %v", err)
		}
		name = func(of []firewall.Connection) { list.NameOwners(inv.ctx, of) }
	}
	// What a policy would cut that lets nobody in is every session.
	nobody, err := firewall.State{Unlisted: firewall.UnlistedDeny, Refuse: firewall.RefuseDrop,
		Established: firewall.EstablishedCut}.Canonical()
	if err != nil {
		return nil, err
	}
	sessions := firewall.LockedOut(nobody, running, own, time.Now(), name)
	return slices.DeleteFunc(sessions, func(c firewall.Connection) bool {
		return c.Client.Addr().IsLoopback()
	}), nil
}

// listeningOf is a listener in the words of a first policy.
func listeningOf(l sockets.Listener) policy.Listening {
	at := l.Address.String()
	if l.Interface != "" {
		at += "%" + l.Interface
	}
	x := policy.Listening{
		Port:      firewall.PortRange{Protocol: l.Protocol, First: l.Port, Last: l.Port},
		Addresses: []string{at},
	}
	if len(l.Owners) > 0 {
		x.Program, x.Unit = l.Owners[0].Name, l.Owners[0].Unit
	}
	return x
}

// readsBack makes sure that the policy is valid and lets in whom it should: a mistake there is
// ours, and must not be written.
func readsBack(inv *invocation, f policy.First, text string) error {
	p, err := policy.Parse("policy.yaml", []byte(text))
	if err != nil {
		return fmt.Errorf("the policy that was made is not valid, which is a mistake of "+
			"portgrave: %w", err)
	}
	c, err := p.Compile(inv.ctx, nil)
	if err != nil {
		return err
	}
	services := c.State.Index()
	letsIn := func(s firewall.Service) bool { return f.Logins.Minus(s.Sources).Len() == 0 }
	for _, port := range f.SSH {
		if !slices.ContainsFunc(services.Ask(firewall.TCP, port, "").Services, letsIn) {
			return fmt.Errorf("the policy that was made would lock out SSH at tcp/%d, which is a "+
				"mistake of portgrave", port)
		}
	}
	return nil
}

// writePolicy writes a policy, all of it or nothing. Others may read it, and only its owner may
// write it.
func writePolicy(path, text string) error {
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	var f *os.File
	if err == nil {
		f, err = os.CreateTemp(filepath.Dir(path), ".policy-*")
	}
	if err == nil {
		defer func() { _ = os.Remove(f.Name()) }()
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: %w", firewall.ErrPermission, err)
	}
	return err
}

// firstWords say what a first policy does.
func firstWords(f policy.First) string {
	words := "no SSH server listens, so nothing is open or closed yet"
	if len(f.SSH) > 0 {
		var ports []string
		for _, p := range f.SSH {
			ports = append(ports, fmt.Sprintf("tcp/%d", p))
		}
		from := prefixWords(f.Logins, f.Logins.Len())
		if len(from) > maxEntries {
			from = []string{host.Plural(len(from), "source")}
		}
		words = fmt.Sprintf("SSH (%s) is open to %s alone", strings.Join(ports, ", "),
			strings.Join(from, ", "))
	}
	if n := len(f.Listening); n > 0 {
		words += fmt.Sprintf("; what else listens is listed as comments (%s)", plural(n, "socket"))
	}
	return words
}

// configFlag is --config as it was given, for commands that follow.
func configFlag(inv *invocation) string {
	if inv.config == "" {
		return ""
	}
	return " --config " + inv.config
}
