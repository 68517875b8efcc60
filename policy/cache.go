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

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/host/statefiles"
)

// cached is the last good content of a network. On disk it is one line of JSON, then the binary
// form of the addresses, which is as short as they are in memory and is read in milliseconds. The
// JSON holds the SHA-256 of those bytes to detect a torn or damaged file.
type cached struct {
	// Source is network.cacheKey, so that content of another source is not taken for this
	// network's.
	Source  string    `json:"source"`
	Fetched time.Time `json:"fetched"`
	ETag    string    `json:"etag,omitempty"`
	SHA256  string    `json:"sha256,omitempty"` // of the download, for the policy's sha256
	// Entries is the number of entries as written; 0 in files of versions that did not count.
	Entries  int    `json:"entries,omitempty"`
	Checksum string `json:"checksum"` // of the bytes below
	// LastModified is the server's header, for servers that send no ETag.
	LastModified string `json:"last_modified,omitempty"`

	path     string      // of the file on disk
	prefixes address.Set // of fresh content, or as Memory knows them; content reads them
	known    bool        // prefixes are those on disk
}

// cachePath stays inside Dir because namePattern allows no slash in a name.
func (n *Networks) cachePath(net *network) string {
	return filepath.Join(n.Dir, net.name+".addresses")
}

// readCache reads the header of this network's last good content and leaves the addresses to
// content, because a network whose file can be read does not need them. It returns nil if there is
// no such content. A damaged file is an error.
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
	if c := n.Memory.lastGood(f, path, net.cacheKey()); c != nil {
		return c, nil
	}
	from := bufio.NewReader(f)
	head, err := from.ReadBytes('\n')
	sum := sha256.New()
	if err == nil {
		_, err = io.Copy(sum, from)
	}
	c := cached{path: path}
	if err != nil || json.Unmarshal(head, &c) != nil ||
		c.Checksum != hex.EncodeToString(sum.Sum(nil)) {
		return nil, errDamaged(path)
	}
	n.Memory.keepLastGood(f, c)
	if c.Source != net.cacheKey() {
		return nil, nil
	}
	return &c, nil
}

// content is the last good content of a network, from memory if that has it.
func (n *Networks) content(c *cached) (address.Set, error) {
	if c.known {
		return c.prefixes, nil
	}
	p, err := c.content()
	if err == nil {
		n.Memory.keepContent(c, p)
	}
	return p, err
}

// content reads the addresses from disk.
func (c *cached) content() (address.Set, error) {
	content, err := statefiles.Read(c.path)
	if err != nil {
		return address.Set{}, err
	}
	_, body, _ := bytes.Cut(content, []byte("\n"))
	if checksum(body) != c.Checksum { // another process has replaced the file
		return address.Set{}, errDamaged(c.path)
	}
	p, rest, err := address.Read(body)
	if err != nil || len(rest) > 0 {
		return address.Set{}, errDamaged(c.path)
	}
	return p, nil
}

func errDamaged(path string) error { return fmt.Errorf("%s is damaged and will not be used", path) }

// writeCache stores content, atomically and synced. It skips the write if the content of a file
// network did not change.
func (n *Networks) writeCache(net *network, fresh, last *cached) error {
	if n.Dir == "" {
		return nil
	}
	n.digest(net, fresh)
	fresh.Source = net.cacheKey()
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

// digest is the checksum of fresh content, which is made once.
func (n *Networks) digest(net *network, fresh *cached) string {
	if fresh.Checksum == "" {
		sum := sha256.New()
		_ = fresh.prefixes.WriteBinary(sum) // a hash never fails to write
		fresh.Checksum = hex.EncodeToString(sum.Sum(nil))
		n.Memory.keepChecksum(net, fresh)
	}
	return fresh.Checksum
}

func checksum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
