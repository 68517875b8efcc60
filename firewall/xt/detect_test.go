package xt

import (
	"context"
	"os"
	"strings"
	"testing"
)

// The programs of a host, as scripts that only say their version.
func TestDetect(t *testing.T) {
	for name, tt := range map[string]struct {
		programs map[string]string
		variant  variant
		want     string // of the error
	}{
		"debian":           {map[string]string{"iptables": "v1.8.9 (nf_tables)", "ip6tables": "v1.8.9 (nf_tables)", "iptables-legacy": "v1.8.9 (legacy)", "ip6tables-legacy": "v1.8.9 (legacy)"}, nfVariant, ""},
		"old":              {map[string]string{"iptables": "v1.6.1", "ip6tables": "v1.6.1"}, legacy, ""},
		"chosen legacy":    {map[string]string{"iptables": "v1.8.9 (legacy)", "ip6tables": "v1.8.9 (legacy)", "iptables-nft": "v1.8.9 (nf_tables)", "ip6tables-nft": "v1.8.9 (nf_tables)"}, legacy, ""},
		"only IPv4 of one": {map[string]string{"iptables": "v1.8.9 (legacy)", "iptables-nft": "v1.8.9 (nf_tables)", "ip6tables-nft": "v1.8.9 (nf_tables)"}, nfVariant, ""},
		"none":             {nil, "", "there is no iptables program"},
		"only IPv4":        {map[string]string{"iptables": "v1.8.9 (legacy)"}, "", "only one of them are there (iptables (legacy))"},
		"nonsense":         {map[string]string{"iptables": "hello"}, "", "is no version of iptables"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for program, says := range tt.programs {
				for _, part := range []string{"", "-save", "-restore"} {
					if err := os.WriteFile(dir+"/"+program+part, []byte("#!/bin/sh\necho '"+program+" "+says+"'\n"), 0o755); err != nil {
						t.Fatal(err)
					}
				}
			}
			p, err := detect(context.Background(), func(name string) string {
				if _, err := os.Stat(dir + "/" + name); err != nil {
					return ""
				}
				return dir + "/" + name
			})
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
				return
			}
			if err != nil || p.variant != tt.variant {
				t.Errorf("variant %q, %v", p.variant, err)
			}
		})
	}
}
