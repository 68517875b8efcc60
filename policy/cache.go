package policy

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/host/statefiles"
)

// cached is the last good content of a network. On disk it is one line of JSON, then the binary
// form of the addresses: as short as they are in memory, and read in milliseconds. The JSON holds
// the SHA-256 of those bytes, so that a torn or damaged file is noticed.
type cached struct {
	Source  string    `json:"source"` // network.origin: content of another source is not this network's
	Fetched time.Time `json:"fetched"`
	ETag    string    `json:"etag,omitempty"`
	SHA256  string    `json:"sha256,omitempty"` // of the download, for the pin
	// Entries is how many there were, as written: 0 in content kept by versions that did not count.
	Entries  int    `json:"entries,omitempty"`
	Checksum string `json:"checksum"` // of the bytes below
	// LastModified is what the server said, for servers that send no ETag.
	LastModified string `json:"last_modified,omitempty"`

	path     string            // where it stands
	prefixes firewall.Prefixes // of fresh content; content reads those of what stands on disk
}

func (n *Networks) cachePath(net *network) string {
	return filepath.Join(
		n.Dir,
		net.name+".addresses",
	) // namePattern keeps names from leaving the folder
}

// readCache looks for content of this source, which content reads when it is needed: a network file
// that can be read needs none. It returns nil if there is none. A damaged file is an error that
// says so, and counts as none.
func (n *Networks) readCache(net *network) (*cached, error) {
	if n.Dir == "" {
		return nil, nil
	}
	path := n.cachePath(net)
	f, err := statefiles.OpenToRead(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	from := bufio.NewReader(f)
	head, err := from.ReadBytes('\n')
	sum := sha256.New()
	if err == nil {
		_, err = io.Copy(sum, from)
	}
	c := cached{path: path}
	if err != nil || json.Unmarshal(head, &c) != nil ||
		c.Checksum != hex.EncodeToString(sum.Sum(nil)) {
		return nil, damaged(path)
	}
	if c.Source != net.origin() {
		return nil, nil
	}
	return &c, nil
}

// content reads the addresses.
func (c *cached) content() (firewall.Prefixes, error) {
	content, err := statefiles.Read(c.path)
	if err != nil {
		return firewall.Prefixes{}, err
	}
	_, body, _ := bytes.Cut(content, []byte("\n"))
	if checksum(body) != c.Checksum { // replaced since
		return firewall.Prefixes{}, damaged(c.path)
	}
	p, rest, err := address.Read(body)
	if err != nil || len(rest) > 0 {
		return firewall.Prefixes{}, damaged(c.path)
	}
	return p, nil
}

func damaged(path string) error { return fmt.Errorf("%s is damaged and will not be used", path) }

// writeCache keeps content, atomically and synced. A file network that did not change is not
// written again.
func (n *Networks) writeCache(net *network, fresh, last *cached) error {
	if n.Dir == "" {
		return nil
	}
	sum := sha256.New()
	if err := fresh.prefixes.WriteBinary(sum); err != nil {
		return err
	}
	fresh.Source, fresh.Checksum = net.origin(), hex.EncodeToString(sum.Sum(nil))
	if net.file != "" && last != nil && last.Checksum == fresh.Checksum &&
		last.Entries == fresh.Entries {
		return nil
	}
	head, err := json.Marshal(fresh)
	if err != nil {
		return err
	}
	if err := statefiles.MakeAll(n.Dir, 0o700); err != nil {
		return err
	}
	return statefiles.Write(n.cachePath(net), func(w io.Writer) error {
		if _, err := w.Write(append(head, '\n')); err != nil {
			return err
		}
		return fresh.prefixes.WriteBinary(w)
	})
}

func checksum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
