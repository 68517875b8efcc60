package firewall

import (
	"fmt"
	"strings"
	"time"
)

// Author is the process that changed the kernel's rules behind our back, as far as it is known.
type Author struct {
	Command    string `json:"command"`
	PID        int    `json:"pid"`
	Executable string `json:"executable"`
	Unit       string `json:"unit"`
	User       string `json:"user"`
	// LoginUser is who logged in to begin with, whatever became of it through sudo or su; "" for
	// what no login started.
	LoginUser string    `json:"login_user,omitempty"`
	At        time.Time `json:"at"`
}

// Words are what is known of the author, a part each: the command, then the process, the user and
// the unit. What isn't known is left out.
func (a *Author) Words() (words []string) {
	if a == nil {
		return []string{"unknown"}
	}
	words = append(words, a.Command)
	if a.Command == "" {
		words[0] = "an unknown program"
	}
	if a.PID != 0 {
		words = append(words, fmt.Sprintf("process %d", a.PID))
	}
	switch {
	case a.User != "" && a.LoginUser != "" && a.LoginUser != a.User:
		words = append(words, fmt.Sprintf("user %s (logged in as %s)", a.User, a.LoginUser))
	case a.User != "":
		words = append(words, "user "+a.User)
	case a.LoginUser != "":
		words = append(words, "logged in as "+a.LoginUser)
	}
	if a.Unit != "" {
		words = append(words, "unit "+a.Unit)
	}
	return words
}

// String is "nft (process 7, user root, unit cron.service)", with what is known of it.
func (a *Author) String() string {
	words := a.Words()
	if len(words) == 1 {
		return words[0]
	}
	return words[0] + " (" + strings.Join(words[1:], ", ") + ")"
}
