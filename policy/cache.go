package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/statefiles"
)

// cached is the last good content of a network. On disk it is one line of JSON, then one CIDR a
// line; the JSON holds the SHA-256 of those lines, so that a torn or damaged file is noticed.
type cached struct {
	Source   string    `json:"source"` // network.origin: content of another source is not this network's
	Fetched  time.Time `json:"fetched"`
	ETag     string    `json:"etag,omitempty"`
	SHA256   string    `json:"sha256,omitempty"` // of the download, for the pin
	Checksum string    `json:"checksum"`         // of the lines below
	// LastModified is what the server said, for servers that send no ETag.
	LastModified string `json:"last_modified,omitempty"`

	prefixes firewall.Prefixes
}

func (n *Networks) cachePath(net *network) string {
	return filepath.Join(n.Dir, net.name+".cidrs") // namePattern keeps names from leaving the folder
}

// readCache returns nil if there is no content of this source. A damaged file is an error that
// says so, and counts as none.
func (n *Networks) readCache(net *network) (*cached, error) {
	if n.Dir == "" {
		return nil, nil
	}
	path := n.cachePath(net)
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	head, body, found := bytes.Cut(content, []byte("\n"))
	var c cached
	if !found || json.Unmarshal(head, &c) != nil || c.Checksum != checksum(body) {
		return nil, fmt.Errorf("%s is damaged and will not be used", path)
	}
	if c.Source != net.origin() {
		return nil, nil
	}
	if c.prefixes, err = parseList(path, body, 1<<31-1); err != nil {
		return nil, err
	}
	return &c, nil
}

// writeCache keeps content, atomically and synced. A file network that did not change is not written again.
func (n *Networks) writeCache(net *network, fresh, last *cached) error {
	if n.Dir == "" || net.file != "" && last != nil && last.prefixes.Equal(fresh.prefixes) {
		return nil
	}
	body := []byte(strings.Join(append(fresh.prefixes.Strings(), ""), "\n"))
	fresh.Source, fresh.Checksum = net.origin(), checksum(body)
	head, err := json.Marshal(fresh)
	if err != nil {
		return err
	}
	if err := statefiles.MakeAll(n.Dir, 0o700); err != nil {
		return err
	}
	return statefiles.Write(n.cachePath(net), append(append(head, '\n'), body...))
}

func checksum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
