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
	"path/filepath"
	"sync"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// Networks loads the networks that live outside the policy: files, URLs and DNS names. It keeps the
// last good content of each, and falls back on it, reported as stale, when the source fails.
type Networks struct {
	// Dir is the folder for the last good content, one file for each network; "" keeps none.
	Dir string
	// HTTP does the downloads; nil uses a default client with limits on time and redirects.
	HTTP *http.Client
	// LookupIP resolves a name to its A and AAAA records; nil uses the system's resolver.
	LookupIP func(ctx context.Context, host string) ([]netip.Addr, error)
	// Connected lists the networks that the host is connected to; nil means none.
	Connected func() ([]netip.Prefix, error)
	// Virtual lists the IPVS services at addresses that the host holds for them alone; nil means
	// none.
	Virtual func() ([]firewall.VirtualService, error)
	// Now is the clock; nil uses the system's.
	Now func() time.Time
	// Offline uses only files and last good content, as boot does.
	Offline bool
	// Files says how to read network files.
	Files Files
	// AcceptShrunk accepts content that has lost more entries than max_shrink allows, as apply
	// --force does.
	AcceptShrunk bool
	// Warn receives errors in storing content, one call at a time; nil ignores them.
	Warn func(error)
	// Memory is what a process remembers of networks from one policy to the next; nil if nothing.
	Memory *Memory
	// Expect has the fingerprint that each network file, by its path, must have; another file is
	// an error. nil accepts them as they are.
	Expect map[string]Fingerprint
	// OnEntries receives the number of entries read since its last call, from several goroutines;
	// nil ignores it.
	OnEntries func(entries int)

	warning sync.Mutex
}

const (
	// fetchTimeout bounds one download or DNS look-up as a whole.
	fetchTimeout = 30 * time.Second
	// maxConcurrentLoads bounds the networks that load at the same time, so that a few slow servers
	// delay the others little.
	maxConcurrentLoads = 8
	// maxListBytes bounds a list, packed or not: a million IPv6 CIDRs take about 40 MB. A network
	// that may have more entries may have maxEntryBytes for each. In JSON it is maxJSONEntryBytes,
	// because other keys stand beside each entry.
	maxListBytes      = 64 << 20
	maxEntryBytes     = 64
	maxJSONEntryBytes = 256
	maxRedirects      = 5
)

// errOtherFile: a network file is not the one that is expected.
var errOtherFile = errors.New("it is not the file that was meant")

var errOffline = errors.New("not asked: working offline")

func (n *Networks) now() time.Time {
	if n.Now != nil {
		return n.Now()
	}
	return time.Now()
}

// load returns a network's content with its digest. StaleNetwork is set if the source failed and
// the content is the last good one. The error is set if there is no content.
func (n *Networks) load(
	ctx context.Context,
	net *network,
) (address.Set, string, *StaleNetwork, error) {
	last, cacheErr := n.readCache(net)
	if cacheErr != nil {
		n.warn(cacheErr)
	}
	if net.file == "" && last != nil && n.now().Sub(last.Fetched) < net.refresh &&
		!last.Fetched.After(n.now()) &&
		net.matchesPin(last) {
		prefixes, err := n.content(last)
		if err == nil {
			return prefixes, last.Checksum, nil, nil
		}
		n.warn(err)
		last = nil
	}
	fresh, err := n.fetch(ctx, net, last)
	if err == nil {
		err = n.checkShrink(net, fresh, last)
	}
	if err == nil && n.Files.Exposed != nil {
		// Other users may have written the file, so it must not become last good content.
		return fresh.prefixes, n.digest(net, fresh), nil, nil
	}
	if err == nil {
		if err := n.writeCache(net, fresh, last); err != nil {
			n.warn(fmt.Errorf("network %q: its content could not be kept for bad times: %w",
				net.name, err))
		}
		return fresh.prefixes, n.digest(net, fresh), nil, nil
	}
	if last == nil || !net.matchesPin(last) {
		return address.Set{}, "", nil, err
	}
	prefixes, cacheErr := n.content(last)
	if cacheErr != nil {
		n.warn(cacheErr)
		return address.Set{}, "", nil, err
	}
	return prefixes, last.Checksum, &StaleNetwork{
		Name:    net.name,
		Source:  net.sourceForPeople(),
		Since:   last.Fetched,
		Reason:  FirstProblem(err).Error(),
		Offline: errors.Is(err, errOffline),
	}, nil
}

// matchesPin reports whether content has the digest that the policy names, if it names one.
func (net *network) matchesPin(c *cached) bool { return net.sha256 == "" || net.sha256 == c.SHA256 }

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
	timeout := fetchTimeout
	if n.HTTP != nil && n.HTTP.Timeout > 0 {
		timeout = min(timeout, n.HTTP.Timeout)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if net.url != "" {
		return n.fetchURL(ctx, net, last)
	}
	return n.fetchDNS(ctx, net)
}

func (n *Networks) fetchFile(ctx context.Context, net *network) (*cached, error) {
	fresh := &cached{Fetched: n.now()}
	known := n.Memory.list(net)
	defer known.release()
	use := func(f wholeFile) error {
		if n.Expect != nil && n.Expect[filepath.Clean(net.file)] != f.print {
			return errOtherFile
		}
		if known.holds(f, net.maxBytes()) {
			fresh.Entries, fresh.prefixes, fresh.Checksum = known.entries, known.prefixes, known.checksum
			return nil
		}
		fresh.Checksum = ""
		reader := n.reader(net, net.file)
		reader.size, reader.hideText = min(f.print.Size, net.maxBytes()), f.hideText
		list, err := reader.read(known.watch(f, &limitedReader{f, net.maxBytes()}))
		if err == nil && list.blank {
			// An interrupted write leaves an empty file, and an empty except list would open ports.
			err = errors.New(
				"the file has nothing in it; if it shall be an empty list, say so in a # comment",
			)
		}
		if errors.Is(err, errTooLarge) {
			err = fmt.Errorf("the file is larger than %d MiB", net.maxBytes()>>20)
		}
		fresh.Entries, fresh.prefixes = list.entries, list.prefixes
		return err
	}
	err := n.Files.read(ctx, net.file, trustAll, use)
	known.keep(fresh, err)
	var problems Problems
	switch {
	case err == nil:
		return fresh, nil
	case errors.As(err, &problems):
		return nil, err
	}
	return nil, fileError{net.file, pathless{err}}
}

// fileError says that a network file as a whole can't be used. The mistake stands in the policy,
// where it names the file.
type fileError struct {
	path   string
	reason error
}

func (e fileError) Error() string { return e.path + ": " + e.reason.Error() }

func (e fileError) Unwrap() error { return e.reason }

// reader returns a listReader for the network, whose messages use name.
func (n *Networks) reader(net *network, name string) listReader {
	return listReader{
		name:      name,
		limit:     net.max,
		unpack:    net.maxBytes(),
		selects:   net.selects,
		onEntries: n.OnEntries,
	}
}

// maxBytes is the limit on the network's list in bytes.
func (net *network) maxBytes() int64 {
	longest := int64(maxEntryBytes)
	if net.selects != nil {
		longest = maxJSONEntryBytes
	}
	return max(maxListBytes, longest*int64(net.max))
}

// limitedReader fails with errTooLarge after left bytes.
type limitedReader struct {
	from io.Reader
	left int64
}

var errTooLarge = errors.New("too large")

func (b *limitedReader) Read(p []byte) (int, error) {
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
	conditional := last != nil && net.matchesPin(last) &&
		(last.ETag != "" || last.LastModified != "")
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
		again.prefixes, err = n.content(last)
		return &again, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", net.redactedURL(), resp.Status)
	}
	sum := sha256.New()
	body := io.TeeReader(&limitedReader{resp.Body, net.maxBytes()}, sum)
	list, err := n.reader(net, net.redactedURL()).read(body)
	var problems Problems
	wrong := errors.As(err, &problems)
	if err == nil || wrong { // reading stops at some mistakes, but the digest is of the whole body
		if _, rerr := io.Copy(io.Discard, body); rerr != nil {
			err, wrong = rerr, false
		}
	}
	// A server may end its answer when we give up, and then the part we have looks complete.
	if ctx.Err() != nil && (err == nil || wrong) {
		err, wrong = ctx.Err(), false
	}
	digest := hex.EncodeToString(sum.Sum(nil))
	switch {
	case errors.Is(err, errTooLarge):
		return nil, fmt.Errorf("%s sent more than %d MiB", net.redactedURL(), net.maxBytes()>>20)
	case err != nil && !wrong:
		return nil, fmt.Errorf("%s: the download broke off: %w", net.redactedURL(), err)
	case net.sha256 != "" && net.sha256 != digest:
		return nil, fmt.Errorf(
			"%s sent content with SHA-256 %s, the policy wants %s",
			net.redactedURL(),
			digest,
			net.sha256,
		)
	case wrong:
		return nil, FirstProblem(err)
	}
	if err := checkPlausible(list.prefixes); err != nil {
		return nil, fmt.Errorf("%s: %w", net.redactedURL(), err)
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

// checkPlausible refuses content that a broken or hijacked source would send: an empty list, or
// everyone.
func checkPlausible(p address.Set) error {
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

func (n *Networks) client() *http.Client {
	var client http.Client
	if n.HTTP != nil {
		client = *n.HTTP
	}
	client.Timeout = 0 // fetch sets the timeout
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
			return nil, fmt.Errorf("%s resolves to %s, which isn't the address of a host", network.dns, a)
		}
		list = append(list, netip.PrefixFrom(a, a.BitLen()))
	}
	prefixes, err := address.New(list...)
	if err != nil {
		return nil, err
	}
	if prefixes.Len() == 0 {
		return nil, fmt.Errorf("%s resolves to no address", network.dns)
	}
	return &cached{Fetched: n.now(), Entries: len(list), prefixes: prefixes}, nil
}

// lookupBoth asks the system's resolver for A records, then for AAAA records. Asked for both at
// once, the resolver hides that one query failed, and half a network would look complete.
func lookupBoth(ctx context.Context, host string) ([]netip.Addr, error) {
	var all []netip.Addr
	var missing error
	for _, family := range []string{"ip4", "ip6"} {
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, family, host)
		var dns *net.DNSError
		switch {
		case errors.As(err, &dns) && dns.IsNotFound: // a name may lack records of one family
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
