package iana

import "testing"

func TestServiceNumbers(t *testing.T) {
	for text, want := range map[string]uint16{"ssh": 22, "22": 22, "0x16": 22, "022": 18, "0X16": 22, "08": 0, "1_0": 0, "0b11": 0, "0o7": 0, "+5": 0, "": 0} {
		if got, ok := Service(text); got != want || ok != (want > 0) {
			t.Errorf("%q: %d, %v", text, got, ok)
		}
	}
}
