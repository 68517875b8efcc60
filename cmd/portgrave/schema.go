package main

import (
	"time"

	"github.com/portgrave/portgrave/firewall/nft"
	"github.com/portgrave/portgrave/policy"
)

// printSchema prints the JSON Schema of the policy.
func printSchema(inv *invocation) error {
	_, err := inv.screen.out.Write(policy.Schema())
	return err
}

// exportNft prints the policy as a script for nft.
func exportNft(inv *invocation) error {
	_, c, err := inv.compiled(inv.config, false)
	if err != nil {
		return err
	}
	script := nft.Script(c.State, time.Now())
	if inv.screen.json {
		return inv.screen.object(map[string]string{"format": "nft", "script": script})
	}
	inv.screen.printf("%s", script)
	return nil
}
