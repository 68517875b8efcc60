package firewall

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// CheckRemark checks a text that somebody gives along, such as a reason: it is printed to terminals
// and logs, where it must not begin a line, move the cursor or turn the direction of writing.
func CheckRemark(text string) error {
	hostile := func(r rune) bool { return !unicode.IsGraphic(r) }
	if !utf8.ValidString(text) || strings.ContainsFunc(text, hostile) {
		return fmt.Errorf("%q: write it in one line, without control characters", text)
	}
	return nil
}
