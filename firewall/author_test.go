package firewall

import (
	"strings"
	"testing"
)

func TestAuthorWords(t *testing.T) {
	for _, x := range []struct {
		author        *Author
		listed, short string
	}{
		{nil, "unknown", "unknown"},
		{&Author{}, "an unknown program", "an unknown program"},
		{&Author{Command: "nft"}, "nft", "nft"},
		{&Author{Command: "nft", PID: 7}, "nft, process 7", "nft (process 7)"},
		{&Author{PID: 7}, "an unknown program, process 7", "an unknown program (process 7)"},
		{
			&Author{Command: "nft", PID: 7, User: "root"},
			"nft, process 7, user root",
			"nft (process 7, user root)",
		},
		{
			&Author{Command: "nft", PID: 7, Unit: "cron.service"},
			"nft, process 7, unit cron.service",
			"nft (process 7, unit cron.service)",
		},
		{
			&Author{Command: "nft", PID: 7, User: "root", LoginUser: "ana", Unit: "s.scope"},
			"nft, process 7, user root (logged in as ana), unit s.scope",
			"nft (process 7, user root (logged in as ana), unit s.scope)",
		},
		{
			&Author{Command: "nft", PID: 7, User: "ana", LoginUser: "ana"},
			"nft, process 7, user ana",
			"nft (process 7, user ana)",
		},
		{&Author{Command: "nft", LoginUser: "ana"}, "nft, logged in as ana", "nft (logged in as ana)"},
	} {
		if got := strings.Join(x.author.Words(), ", "); got != x.listed {
			t.Errorf("%+v: %q, want %q", x.author, got, x.listed)
		}
		if got := x.author.String(); got != x.short {
			t.Errorf("%+v: %q, want %q", x.author, got, x.short)
		}
	}
}
