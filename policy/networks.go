package policy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/portgrave/portgrave/firewall"
)

// Networks loads the networks that live outside the policy: files, URLs, names in the DNS. Each
// keeps its last good content in a folder, and falls back on it, reported as stale, when its source
// fails.
type Networks struct {
	// Dir holds the last good content, a file a network; "" keeps none.
	Dir string
	// HTTP does the downloads; nil is a client of our own with limits on time and redirects.
	HTTP *http.Client
	// LookupIP resolves a name to its A and AAAA records; nil is the system's resolver.
	LookupIP func(ctx context.Context, host string) ([]netip.Addr, error)
	// Connected lists the networks that the host is part of; nil: it is part of none.
	Connected func() ([]netip.Prefix, error)
	// Virtual lists the services of IPVS at addresses that the host holds for it alone; nil:
	// there are none.
	Virtual func() ([]firewall.VirtualService, error)
	// Now is the clock; nil is the system's.
	Now func() time.Time
	// Offline uses files and last good content alone, as boot does.
	Offline bool
	// Files says how network files are read.
	Files Files
	// AcceptShrunk takes content that has lost more entries than max_shrink allows, as apply --force
	// does.
	AcceptShrunk bool
	// Warn hears of content that could not be kept, one call at a time; nil ignores it.
	Warn func(error)
	// Counted hears, from several goroutines, how many entries more of some list were read; nil
	// ignores it.
	Counted func(entries int)

	warning sync.Mutex
}

const (
	// fetchTimeout bounds one download or look-up, from the first packet to the last.
	fetchTimeout = 30 * time.Second
	// atOnce is how many networks are loaded at the same time: a few slow servers must not add up.
	atOnce = 8
	// maxList bounds a list, as a file or a download: a million IPv6 CIDRs take about 40 MB. A network
	// that may have more entries than that may have longestEntry bytes for each, or longestJSON in
	// JSON, where other keys stand beside each. The same holds for what gzip data unpacks to.
	maxList      = 64 << 20
	longestEntry = 64
	longestJSON  = 256
	maxRedirects = 5
)

var errOffline = errors.New("not asked: working offline")

func (n *Networks) now() time.Time {
	if n.Now != nil {
		return n.Now()
	}
	return time.Now()
}

// load returns a network's content. Stale is set if it is its last good content because the source
// failed; err if there is none.
func (n *Networks) load(
	ctx context.Context,
	net *network,
) (firewall.Prefixes, *StaleNetwork, error) {
	last, cacheErr := n.readCache(net)
	if cacheErr != nil {
		n.warn(cacheErr)
	}
	if net.file == "" && last != nil && n.now().Sub(last.Fetched) < net.refresh &&
		!last.Fetched.After(n.now()) &&
		net.pinned(last) {
		prefixes, err := last.content()
		if err == nil {
			return prefixes, nil, nil
		}
		n.warn(err)
		last = nil
	}
	fresh, err := n.fetch(ctx, net, last)
	if err == nil {
		err = n.shrunk(net, fresh, last)
	}
	if err == nil &&
		n.Files.Exposed != nil { // others may have written it: nothing to fall back on later
		return fresh.prefixes, nil, nil
	}
	if err == nil {
		if err := n.writeCache(net, fresh, last); err != nil {
			n.warn(fmt.Errorf("network %q: its content could not be kept for bad times: %w", net.name, err))
		}
		return fresh.prefixes, nil, nil
	}
	if last == nil || !net.pinned(last) {
		return firewall.Prefixes{}, nil, err
	}
	prefixes, cacheErr := last.content()
	if cacheErr != nil {
		n.warn(cacheErr)
		return firewall.Prefixes{}, nil, err
	}
	return prefixes, &StaleNetwork{
		Name:   net.name,
		Source: net.shown(),
		Since:  last.Fetched,
		Reason: firstOf(err).Error(),
	}, nil
}

// pinned reports whether content satisfies the network's pin, if it has one.
func (net *network) pinned(c *cached) bool { return net.sha256 == "" || net.sha256 == c.SHA256 }

func (n *Networks) warn(err error) {
	if n.Warn != nil {
		n.warning.Lock()
		defer n.warning.Unlock()
		n.Warn(err)
	}
}

func (n *Networks) fetch(ctx context.Context, net *network, last *cached) (*cached, error) {
	if net.file != "" {
		return n.fetchFile(ctx, net)
	}
	if n.Offline {
		return nil, errOffline
	}
	patience := fetchTimeout
	if n.HTTP != nil && n.HTTP.Timeout > 0 {
		patience = min(patience, n.HTTP.Timeout)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if net.url != "" {
		return n.fetchURL(ctx, net, last)
	}
	return n.fetchDNS(ctx, net)
}

func (n *Networks) fetchFile(ctx context.Context, net *network) (*cached, error) {
	fresh := &cached{Fetched: n.now()}
	err := n.Files.read(ctx, net.file, trustAll, func(f *os.File, size int64, secret bool) error {
		reader := n.reader(net, net.file)
		reader.size, reader.secret = min(size, net.maxBytes()), secret
		list, err := reader.read(&bounded{f, net.maxBytes()})
		if err == nil && list.blank {
			// An interrupted write leaves just this, and an except list that vanishes would open ports.
			err = errors.New(
				"the file has nothing in it; if it shall be an empty list, say so in a # comment",
			)
		}
		if errors.Is(err, errTooLarge) {
			err = fmt.Errorf("the file is larger than %d MiB", net.maxBytes()>>20)
		}
		fresh.Entries, fresh.prefixes = list.entries, list.prefixes
		return err
	})
	var problems Problems
	switch {
	case err == nil:
		return fresh, nil
	case errors.As(err, &problems):
		return nil, err
	}
	return nil, Problems{
		{File: net.file, Message: fmt.Sprintf("network %q: %s", net.name, plain(err))},
	}
}

// reader reads the network's list, which bears a name in messages.
func (n *Networks) reader(net *network, name string) listReader {
	return listReader{
		name:    name,
		limit:   net.max,
		unpack:  net.maxBytes(),
		selects: net.selects,
		counted: n.Counted,
	}
}

// maxBytes is how long the network's list may be.
func (net *network) maxBytes() int64 {
	longest := int64(longestEntry)
	if net.selects != nil {
		longest = longestJSON
	}
	return max(maxList, longest*int64(net.max))
}

// bounded fails once more than left bytes were read.
type bounded struct {
	from io.Reader
	left int64
}

var errTooLarge = errors.New("too large")

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.from.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

func (n *Networks) fetchURL(ctx context.Context, net *network, last *cached) (*cached, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, net.url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "portgrave")
	conditional := last != nil && net.pinned(last) && (last.ETag != "" || last.LastModified != "")
	if conditional && last.ETag != "" {
		req.Header.Set("If-None-Match", last.ETag)
	}
	if conditional && last.LastModified != "" {
		req.Header.Set("If-Modified-Since", last.LastModified)
	}
	resp, err := n.client().Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusNotModified && conditional {
		again := *last
		again.Fetched = n.now()
		again.prefixes, err = last.content()
		return &again, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", net.shownURL(), resp.Status)
	}
	sum := sha256.New()
	body := io.TeeReader(&bounded{resp.Body, net.maxBytes()}, sum)
	list, err := n.reader(net, net.shownURL()).read(body)
	var problems Problems
	wrong := errors.As(err, &problems)
	if err == nil || wrong { // a list that is wrong may not have been read to its end
		if _, rerr := io.Copy(io.Discard, body); rerr != nil {
			err, wrong = rerr, false
		}
	}
	// A server may take our giving up for the end of its answer, and then what has come looks whole.
	if ctx.Err() != nil && (err == nil || wrong) {
		err, wrong = ctx.Err(), false
	}
	digest := hex.EncodeToString(sum.Sum(nil))
	switch {
	case errors.Is(err, errTooLarge):
		return nil, fmt.Errorf("%s sent more than %d MiB", net.shownURL(), net.maxBytes()>>20)
	case err != nil && !wrong:
		return nil, fmt.Errorf("%s: the download broke off: %w", net.shownURL(), err)
	case net.sha256 != "" && net.sha256 != digest:
		return nil, fmt.Errorf(
			"%s sent content with SHA-256 %s, the policy wants %s",
			net.shownURL(),
			digest,
			net.sha256,
		)
	case wrong:
		return nil, firstOf(err)
	}
	if err := believable(list.prefixes); err != nil {
		return nil, fmt.Errorf("%s: %w", net.shownURL(), err)
	}
	return &cached{
		Fetched:      n.now(),
		ETag:         resp.Header.Get("ETag"),
		LastModified: resp.Header.Get("Last-Modified"),
		SHA256:       digest,
		Entries:      list.entries,
		prefixes:     list.prefixes,
	}, nil
}

// believable refuses content that a broken or hijacked source would send: nothing at all, or
// everyone.
func believable(p firewall.Prefixes) error {
	if p.Len() == 0 {
		return errors.New("the content is empty")
	}
	for x := range p.All() {
		if x.Bits() == 0 {
			return fmt.Errorf("the content has %s, which is everyone", x)
		}
	}
	return nil
}

func firstOf(err error) error {
	var problems Problems
	if errors.As(err, &problems) && len(problems) > 0 {
		if len(problems) == 1 {
			return problems[0]
		}
		return fmt.Errorf("%w (and %d more)", problems[0], len(problems)-1)
	}
	return err
}

func (n *Networks) client() *http.Client {
	var client http.Client
	if n.HTTP != nil {
		client = *n.HTTP
	}
	client.Timeout = 0 // fetch sees to that
	client.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if req.URL.Scheme != "https" {
			return fmt.Errorf("it redirects to %s, which is not https", req.URL.Redacted())
		}
		if len(via) > maxRedirects {
			return fmt.Errorf("it redirects more than %d times", maxRedirects)
		}
		return nil
	}
	return &client
}

func (n *Networks) fetchDNS(ctx context.Context, network *network) (*cached, error) {
	lookup := n.LookupIP
	if lookup == nil {
		lookup = lookupBoth
	}
	addrs, err := lookup(ctx, network.dns)
	if err != nil {
		return nil, err
	}
	var list []netip.Prefix
	for _, a := range addrs {
		a = a.Unmap().WithZone("")
		if a.IsUnspecified() || !a.IsValid() {
			return nil, fmt.Errorf("%s resolves to %s, which is nobody's address", network.dns, a)
		}
		list = append(list, netip.PrefixFrom(a, a.BitLen()))
	}
	prefixes, err := firewall.NewPrefixes(list...)
	if err != nil {
		return nil, err
	}
	if prefixes.Len() == 0 {
		return nil, fmt.Errorf("%s resolves to no address", network.dns)
	}
	return &cached{Fetched: n.now(), Entries: len(list), prefixes: prefixes}, nil
}

// lookupBoth asks the system's resolver for A and AAAA records, one after the other: asked for both
// at once it hides that one of them failed, and half a network would be taken for the whole.
func lookupBoth(ctx context.Context, host string) ([]netip.Addr, error) {
	var all []netip.Addr
	var missing error
	for _, family := range []string{"ip4", "ip6"} {
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, family, host)
		var dns *net.DNSError
		switch {
		case errors.As(err, &dns) && dns.IsNotFound: // no such record, which is fine for one of the two
			missing = err
		case err != nil:
			return nil, err
		}
		all = append(all, addrs...)
	}
	if len(all) == 0 {
		return nil, missing
	}
	return all, nil
}
