package policy

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// TestPublishedLists reads a sample of each list in the manual from a file and a URL, with its
// select.
func TestPublishedLists(t *testing.T) {
	want := []struct{ sample, networks string }{
		{"aws.json",
			"3.4.12.4/32 15.177.0.0/18 120.52.22.96/27 2600:9000:3000::/36 2a05:d07a:a000::/40"},
		{"aws.json",
			"3.4.12.4/32 15.177.0.0/18 120.52.22.96/27"},
		{"aws.json",
			"120.52.22.96/27 2600:9000:3000::/36"},
		{"google.json",
			"8.8.4.0/24 34.0.0.0/15 2001:4860::/32"},
		{"google-cloud.json",
			"34.22.112.0/20 2600:1900:4010::/44"},
		{"azure.json",
			"4.150.236.144/29 2603:1061:1310:400::/55"},
		{"github.json",
			"4.148.0.0/16 192.30.252.0/22 2603:1030:401:2::/63 2a0a:a440::/29"},
		{"cloudflare-ips-v4.txt",
			"103.21.244.0/22 104.16.0.0/13 173.245.48.0/20"},
		{"cloudflare.json",
			"103.21.244.0/22 173.245.48.0/20 2400:cb00::/32 2606:4700::/32"},
		{"fastly.json",
			"23.235.32.0/20 43.249.72.0/22 2a04:4e40::/32 2a04:4e42::/32"},
		{"spamhaus-drop.json",
			"1.10.16.0/20 1.19.0.0/16 2001:678:738::/48"},
		{"spamhaus-drop.txt",
			"1.10.16.0/20 1.19.0.0/16"},
	}
	if len(want) != len(PublishedLists) {
		t.Fatalf("%d lists, %d answers", len(PublishedLists), len(want))
	}
	for i, list := range PublishedLists {
		t.Run(fmt.Sprintf("%d %s", i, want[i].sample), func(t *testing.T) {
			sample, err := filepath.Abs(filepath.Join("testdata", "published", want[i].sample))
			if err != nil {
				t.Fatal(err)
			}
			mustParse(t,
				"version: 1\nnetworks:\n  "+strings.ReplaceAll(list.Network(), "\n", "\n  ")+"\n")
			w := newWorld(t)
			w.Files = warnOnlyFiles
			more := ""
			if list.Select != "" {
				more = ", select: " + yamlScalar(list.Select)
			}
			expect(t, "the file",
				w.allowed(fmt.Sprintf("{file: %s%s}", sample, more)), want[i].networks)
			s := w.server(func(rw http.ResponseWriter, r *http.Request) {
				http.ServeFile(rw, r, sample)
			})
			expect(t, "the download",
				w.allowed(fmt.Sprintf(`{url: "%s/list"%s}`, s.URL, more)), want[i].networks)
		})
	}
}
