package main

import "github.com/urfave/cli/v2"

// helpExamples are command lines of each verb, for its help; "" is the program.
var helpExamples = map[string][]string{
	"": {
		"portgrave init && portgrave plan && portgrave apply --confirm 60s",
		"portgrave explain --from 203.0.113.7 --port ssh",
	},
	"init": {
		"portgrave init --dry-run",
		"portgrave init --from 203.0.113.0/24",
	},
	"check": {
		"portgrave check",
		"portgrave check --strict -o sarif hosts/*.yaml > portgrave.sarif",
	},
	"plan": {
		"portgrave plan",
		"portgrave plan --from 3 --to 4 --rules",
	},
	"apply": {
		"portgrave apply --confirm 60s --reason INC-42",
		"portgrave apply --dry-run",
	},
	"confirm": {
		"portgrave confirm",
		"portgrave confirm -o json",
	},
	"rollback": {
		"portgrave rollback --dry-run",
		"portgrave rollback 3 --reason 'the office moved'",
	},
	"drift": {
		"portgrave drift",
		"portgrave drift --watch",
	},
	"log": {
		"portgrave log",
		"portgrave log --follow -o json",
	},
	"status": {
		"portgrave status",
		"portgrave status -o json",
	},
	"open": {
		"portgrave open 5432 --from office --for 2h --reason INC-42",
		"portgrave open udp/53 --from 203.0.113.7,2001:db8::/48 --for 30m",
	},
	"close": {
		"portgrave close kcgfzv",
		"portgrave close postgres --dry-run",
	},
	"leases": {
		"portgrave leases",
		"portgrave leases 8000-8010 -o json",
	},
	"audit": {
		"portgrave audit",
		"portgrave audit --ruleset rules.v4 --port 443",
	},
	"explain": {
		"portgrave explain --from 203.0.113.7 --port 9090",
		"portgrave explain --from 203.0.113.7 --port 53/udp --to 192.0.2.10",
	},
	"import": {
		"portgrave import --folder new",
		"portgrave import > policy.yaml",
	},
	"history": {
		"portgrave history",
		"portgrave history -o json",
	},
	"show": {
		"portgrave show",
		"portgrave show 3 --all",
	},
	"teardown": {
		"portgrave teardown --dry-run",
		"portgrave teardown -y",
	},
	"daemon": {
		"portgrave daemon",
		"portgrave daemon --denied json --denied-file /var/log/portgrave-denied.json",
	},
	"reload": {
		"portgrave reload",
		"portgrave reload -o json",
	},
	"install": {
		"portgrave install --now",
		"portgrave install --root /mnt/image --dry-run",
	},
	"boot": {
		"portgrave boot",
		"portgrave boot -o json",
	},
	"schema": {
		"portgrave schema > portgrave.schema.json",
		"portgrave schema --output text",
	},
	"version": {
		"portgrave version",
		"portgrave version -o json",
	},
	"completion": {
		"portgrave completion bash > /etc/bash_completion.d/portgrave",
		"portgrave completion zsh > ~/.zsh/_portgrave",
	},
	"man": {
		"portgrave man portgrave | man -l -",
		"portgrave man portgrave-policy > portgrave-policy.5",
	},
	"export": {
		"portgrave export nft",
		"portgrave export nft -o json",
	},
	"nft": {
		"portgrave export nft > portgrave.nft",
		"portgrave export nft --config policy.yaml -o json",
	},
}

// init adds the examples to the templates of package cli, which knows none.
func init() {
	section := func(name string) string {
		return "{{with examples " + name + "}}\nEXAMPLES:{{range .}}\n   {{.}}{{end}}\n{{end}}"
	}
	cli.AppHelpTemplate += section(`""`)
	cli.CommandHelpTemplate += section(".Name")
	cli.SubcommandHelpTemplate += section(".Name")
}
