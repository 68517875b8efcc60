package main

import "testing"

func TestProcessor(t *testing.T) {
	for in, want := range map[string]string{
		"processor\t: 0\nmodel name\t: AMD EPYC\nmodel name\t: other\n": "AMD EPYC",
		"Processor: ARMv8\n": "",
		"":                   "",
	} {
		if got := processor([]byte(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestNumber(t *testing.T) {
	for in, want := range map[string]string{
		"nftables v1.0.6 (Lester Gooch #5)\n":   "1.0.6",
		"ipset v7.17, protocol version: 7\n":    "7.17",
		"iptables v1.8.9 (nf_tables)\n":         "1.8.9",
		"something that doesn't tell its own\n": "unknown",
	} {
		if got := firstNumber(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
