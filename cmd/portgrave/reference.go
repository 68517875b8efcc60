package main

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
	"github.com/portgrave/portgrave/cmd/portgrave/manual"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/policy"
)

// reference is what stands in portgrave(8) beside the verbs and flags. The help prints its short
// parts.
func reference() manual.Reference {
	r := manual.Reference{
		Environment: []manual.Entry{
			{
				Term: "PORTGRAVE_STATE_DIR",
				Text: "where generations, leases and the last good content of networks are kept, instead of " + host.DefaultStateDir,
			},
			{
				Term: "PORTGRAVE_RUN_DIR",
				Text: "where the daemon's control socket is, instead of " + host.DefaultRunDir,
			},
			{
				Term: configVariable,
				Text: "what --config names, where that flag is not given",
			},
			{
				Term: backendVariable,
				Text: "what --backend names, where that flag is not given",
			},
			{Term: "NO_COLOR", Text: "set to anything: no colours, not even on a terminal"},
		},
		Files: []manual.Entry{
			{
				Term: policy.DefaultPath + "/policy.yaml, " +
					policy.DefaultPath + "/policy.d/*.yaml",
				Text: "the policy; see portgrave-policy(5)",
			},
			{
				Term: host.DefaultStateDir,
				Text: "the state: generations, leases, the last good content of networks, and drift.jsonl, what happened to the rules. What can't be recorded there is not put in force; what is in force stays and is repaired all the same",
			},
			{
				Term: filepath.Join(host.DefaultRunDir, api.Socket),
				Text: "the daemon's control socket, HTTP with JSON: root may use all of it, members of group portgrave may read, over 64 connections at once and with requests of up to 64 KiB",
			},
		},
		Examples: []manual.Entry{
			{
				Term: "portgrave init\nportgrave plan\nportgrave apply --confirm 60s\nportgrave confirm",
				Text: "Begin: write a first policy that keeps SSH open, read it, and put it in force",
			},
			{
				Term: "portgrave log --follow",
				Text: "See who is refused now",
			},
			{
				Term: "portgrave check && portgrave plan\nportgrave apply --confirm 60s --reason INC-42\nportgrave confirm",
				Text: "Change the rules of a host far away: look, apply, and keep it once a new login has worked. Else it is taken back after a minute",
			},
			{
				Term: "portgrave check --strict -o sarif hosts/*.yaml > portgrave.sarif",
				Text: "Check all policies of a repository in a CI job, for code scanning. Upload the " +
					"file also if the command fails: it says why",
			},
			{
				Term: "portgrave audit\nportgrave explain --from 203.0.113.7 --port 9090",
				Text: "See who can really reach what, and why one client can or can't",
			},
			{
				Term: "portgrave open 9090 --from 203.0.113.7 --for 2h --reason INC-42\nportgrave close 9090",
				Text: "Open a port for two hours, and end that before its time",
			},
			{
				Term: "portgrave import --folder new\nportgrave --config new apply --confirm 60s",
				Text: "Replace another firewall: read the policy in folder new, apply it, and then stop the old one",
			},
			{Term: "portgrave teardown", Text: "Remove every rule of portgrave"},
		},
		SeeAlso: []string{
			"portgrave-policy(5)",
			"nft(8)",
			"iptables(8)",
			"ipset(8)",
			"systemctl(1)",
		},
	}
	for _, name := range []string{
		"audit", "import", "enforcement", "daemon", "boot", "json",
	} {
		r.Chapters = append(r.Chapters, chapter(name))
	}
	for _, rule := range policy.Rules {
		text := rule.Text
		if rule.Host {
			text += " (depends on the host that runs check)"
		}
		r.Warnings = append(r.Warnings, manual.Entry{Term: rule.ID, Text: text})
	}
	for _, k := range audit.Kinds() {
		if severity, text := audit.KindText(k); severity != "" {
			r.Findings = append(r.Findings,
				manual.Entry{Term: fmt.Sprintf("%s (%s)", k, severity), Text: text})
		}
	}
	for code, meaning := range exitMeanings {
		r.ExitCodes = append(
			r.ExitCodes,
			manual.Entry{Term: strconv.Itoa(code), Text: meaning[0] + meaning[1]},
		)
	}
	return r
}

// exitMeanings are the exit codes in a few words, and what the manual says besides.
var exitMeanings = [][2]string{
	exitFine: {"fine", ", and nothing to report"},
	exitFailed: {
		"failed",
		"; standard error says what, where, and what to do. Output that can't be written is a " +
			"failure; a crash ends by signal, without a code",
	},
	exitReport: {
		"something to report",
		": a plan, drift, findings (see --fail-on of audit), a failed policy test, with check " +
			"--strict a warning, " +
			"a connection that explain doesn't see come about",
	},
	exitInvalid:    {"invalid policy or usage", "; nothing was done"},
	exitNotAllowed: {"not allowed", "; root or CAP_NET_ADMIN is needed"},
}

// about is the description of the program. The help adds exit codes and environment to it, for
// which the manual has sections.
const about = "A policy file declares which ports may open to which networks; " +
	"portgrave makes the kernel agree."

func helpDescription() string {
	var codes, variables []string
	for code, meaning := range exitMeanings {
		codes = append(codes, fmt.Sprintf("%d %s", code, meaning[0]))
	}
	for _, e := range reference().Environment {
		variables = append(variables, e.Term)
	}
	return about + "\nExit codes: " + strings.Join(codes, ", ") +
		".\nEnvironment: " + strings.Join(variables, ", ") + "; see portgrave(8)."
}

// manualDescription is what the manual says of the program before the verbs.
const manualDescription = about + " It compares the policy with the live kernel and writes only " +
	"the difference; it tells what others changed, and who can really reach each port through " +
	"everybody's rules.\n\n" +
	"The rules live in the nftables table inet portgrave, at the hooks input and forward, where " +
	"they look at the port that the client dialled, or in iptables chains and ipsets named " +
	"PORTGRAVE*. Nothing else on the host is changed, and teardown leaves no trace. The rules " +
	"stay when a command or the daemon ends.\n\n" +
	"Without a policy file a built-in policy holds: tcp/9090 is open to private networks, and no " +
	"other port is touched. The verbs go through the daemon if one runs. With -o json, standard " +
	"output is exactly one JSON object."
