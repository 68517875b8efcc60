package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/portgrave/portgrave/test/lab"
	"github.com/portgrave/portgrave/test/peers"
)

// ufwName is how results call it.
const ufwName = "ufw, rule by rule"

// ufwScript adds a rule for each prefix that it is given, for as many seconds as it may, and prints
// the time before each, and before and after ufw status, in nanoseconds.
const ufwScript = `
# What the package would do when it is installed.
mkdir -p /var/lib/ufw
cp -n /usr/share/ufw/iptables/*.rules /usr/share/ufw/*.init /usr/share/ufw/ufw.conf /etc/ufw/
chmod 640 /etc/ufw/*.rules
ufw --force enable >/dev/null
end=$(($(date +%%s) + %d))
echo "add $(date +%%s%%N)"
for prefix in %s; do
	ufw allow proto tcp from $prefix to any port 9090 >/dev/null
	echo "add $(date +%%s%%N)"
	[ $(date +%%s) -lt $end ] || break
done
echo "read $(date +%%s%%N)"
ufw status >/dev/null
echo "read $(date +%%s%%N)"
echo ready
`

// ufw loads a list as its users do, a command for each prefix. It runs out of the unpacked
// packages, in a world of its own.
func (b *bench) ufw(list []netip.Prefix) error {
	packages, err := peers.Folder()
	if err != nil {
		b.leaveOut(ufwName + ", since " + err.Error())
		return nil
	}
	if _, err := os.Stat(filepath.Join(packages, "root", "usr", "sbin", "ufw")); err != nil {
		b.leaveOut(ufwName + ", since its package was not unpacked: make deps does that")
		return nil
	}
	var words []string
	for _, p := range list {
		words = append(words, p.String())
	}
	script := fmt.Sprintf(ufwScript, int(b.ufwLimit.Seconds()), strings.Join(words, " "))
	var said string
	err = lab.Run(io.Discard, func(t lab.TB) {
		said = peers.Start(folderTB{t, b.dir}, lab.New(t).Host, script)
	})
	if err != nil {
		b.leaveOut(fmt.Sprintf("%s, since it failed: %v", ufwName, err))
		return nil
	}
	rows, err := ufwRows(said, len(list), b.ufwLimit)
	b.report.Control = append(b.report.Control, rows...)
	return err
}

// ufwRows reads what the script has printed.
func ufwRows(said string, size int, limit time.Duration) ([]ControlRow, error) {
	times := map[string][]float64{}
	for s := bufio.NewScanner(strings.NewReader(said)); s.Scan(); {
		if word, number, ok := strings.Cut(s.Text(), " "); ok && (word == "add" || word == "read") {
			n, err := strconv.ParseInt(number, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", ufwName, err)
			}
			times[word] = append(times[word], float64(n)/1e9)
		}
	}
	if len(times["add"]) < 2 || len(times["read"]) != 2 {
		return nil, errors.New(ufwName + " has not told its times:\n" + said)
	}
	row := func(o Operation, s Series, note string) ControlRow {
		return ControlRow{
			Family:    string(IPv4),
			Size:      size,
			By:        ufwName,
			Operation: o,
			Seconds:   s,
			Note:      note,
		}
	}
	added := differences(times["add"])
	first := row(
		FirstLoad,
		nil,
		fmt.Sprintf("> %s (%s of them)", formatSeconds(limit.Seconds()), formatCount(len(added))),
	)
	if len(added) == size {
		first = row(FirstLoad, Series{times["add"][size] - times["add"][0]}, "")
	}
	return []ControlRow{
		first,
		row(ReadAll, differences(times["read"]), ""),
		row(OneMore, added, ""),
	}, nil
}

// differences are those between neighbours.
func differences(times []float64) (out Series) {
	for i := range len(times) - 1 {
		out = append(out, times[i+1]-times[i])
	}
	return out
}

// folderTB is a lab.TB with a folder.
type folderTB struct {
	lab.TB
	dir string
}

func (m folderTB) TempDir() string {
	dir, err := os.MkdirTemp(m.dir, "ufw")
	if err != nil {
		m.Fatalf("%v", err)
	}
	return dir
}
