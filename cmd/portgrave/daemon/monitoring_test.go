package daemon

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/client_golang/prometheus"
)

// The dashboard and the alert rules can be loaded, and use no metric that the daemon does not have.
func TestMonitoringUsesMetricsThatExist(t *testing.T) {
	known := map[string]bool{}
	descs := make(chan *prometheus.Desc, 100)
	collector{}.Describe(descs)
	newEvents("").durations.Describe(descs)
	close(descs)
	name := regexp.MustCompile(`fqName: "([^"]+)"`)
	for d := range descs {
		known[name.FindStringSubmatch(d.String())[1]] = true
	}
	for _, path := range []string{
		"../../../systemd/alerts.yaml", "../../../systemd/dashboard.json",
	} {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var any any
		if strings.HasSuffix(path, ".json") {
			err = json.Unmarshal(content, &any)
		} else {
			err = yaml.Unmarshal(content, &any)
		}
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		used := regexp.MustCompile(`portgrave_[a-z_]+`).FindAllString(string(content), -1)
		for _, metric := range used {
			if base := strings.TrimSuffix(metric, "_bucket"); !known[base] {
				t.Errorf("%s uses %s, which does not exist", path, metric)
			}
		}
		if len(used) < 5 {
			t.Errorf("%s uses %d metrics", path, len(used))
		}
	}
}
