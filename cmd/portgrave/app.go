package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/portgrave/portgrave/cmd/portgrave/manual"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
	"github.com/portgrave/portgrave/firewall/host"
	"github.com/urfave/cli/v2"
)

// run is the whole program, apart from the process around it. It closes stdout, if that can be
// closed.
func run(args []string, stdout, stderr io.Writer, getenv func(string) string) int {
	out := &output{to: stdout}
	code := runVerb(args, out, stderr, getenv)
	err := out.close()
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "portgrave: the output could not be written: %v\n", err)
	}
	if err != nil && (code == exitFine || code == exitReport) {
		return exitFailed
	}
	return code
}

func runVerb(args []string, stdout *output, stderr io.Writer, getenv func(string) string) int {
	return runApp(newApp(stdout, stderr, getenv), args, stdout, stderr, getenv)
}

// runApp is runVerb for a command line that was made before.
func runApp(
	app *cli.App,
	args []string,
	stdout *output,
	stderr io.Writer,
	getenv func(string) string,
) int {
	var help bytes.Buffer
	json := wantedOutput(args) == "json"
	if json {
		app.Writer = &help
	}
	err := app.Run(reorder(app, args))
	if help.Len() > 0 && err == nil {
		_ = newScreen(stdout, stderr, "json", getenv).object(helpObject(help.String()))
	}
	if err == nil {
		return exitFine
	}
	var failed verbError
	if !errors.As(err, &failed) { // the command line itself
		failed = verbError{
			err:    commandLineError(app, err),
			screen: newScreen(stdout, stderr, wantedOutput(args), getenv),
		}
	}
	var printed invalidReported
	if !errors.Is(failed.err, errReport) && !errors.As(failed.err, &printed) {
		failed.screen.fail(failed.verb, failed.err)
		var usage host.UsageError
		if errors.As(failed.err, &usage) {
			var flag flagError
			if errors.As(failed.err, &flag) {
				failed.verb = flag.verb
			}
			_, _ = fmt.Fprintln(stderr, whereHelpIs(failed.verb))
		}
	}
	return exitCode(failed.err)
}

// helpObject is what cli prints by itself, as JSON: the help, or the version.
func helpObject(text string) map[string]string {
	if v, ok := strings.CutPrefix(text, "portgrave version "); ok {
		return map[string]string{"version": strings.TrimSpace(v)}
	}
	return map[string]string{"help": text}
}

// verbError is an error with the verb and screen it belongs to.
type verbError struct {
	verb   string
	screen *screen
	err    error
}

func (e verbError) Error() string { return e.err.Error() }

// wantedOutput finds -o json in a command line that could not be parsed.
func wantedOutput(args []string) string {
	for i, a := range args {
		name, value, joined := strings.Cut(strings.TrimLeft(a, "-"), "=")
		if !strings.HasPrefix(a, "-") || name != "o" && name != "output" {
			continue
		}
		if !joined && i+1 < len(args) {
			value = args[i+1]
		}
		if value == "json" {
			return value
		}
	}
	return "text"
}

func newApp(stdout *output, stderr io.Writer, getenv func(string) string) *cli.App {
	verb := func(
		name, usage, arguments string, action func(*invocation) error, flags ...cli.Flag,
	) *cli.Command {
		for _, f := range flags { // off is the default of all, and needs no words
			if b, ok := f.(*cli.BoolFlag); ok {
				b.DisableDefaultText = true
			}
		}
		return &cli.Command{
			Name:            name,
			Usage:           usage,
			Description:     details[name],
			ArgsUsage:       arguments,
			Flags:           append(flags, globalFlags(name)...),
			HideHelpCommand: true,
			OnUsageError:    usageError,
			Action: func(c *cli.Context) error {
				inv, err := newInvocation(c, stdout, stderr, getenv)
				if err == nil && !strings.Contains(arguments, "…") &&
					c.NArg() > strings.Count(arguments, "[")+strings.Count(arguments, "<") {
					err = usagef("unexpected argument %q", c.Args().Get(c.NArg()-1))
				}
				if err == nil {
					err = action(inv)
				}
				if err != nil {
					return verbError{verbOf(c), inv.screen, err}
				}
				return nil
			},
		}
	}
	force := &cli.BoolFlag{
		Name:  "force",
		Usage: "go on even if it cuts SSH sessions, fails policy tests or replaces a foreign table",
	}
	forceApply := *force
	forceApply.Usage += ", or if a list has lost most of its entries"
	reason := &cli.StringFlag{Name: "reason", Usage: "why you do it, as `TEXT` for the history"}
	all := &cli.BoolFlag{
		Name:  "all",
		Usage: "list everything: rules, and every source of long lists",
	}
	everyChange := &cli.BoolFlag{Name: "all", Usage: "list every change, however many"}
	rules := &cli.BoolFlag{
		Name:  "rules",
		Usage: "also show the kernel's rules and sets that change",
	}
	app := &cli.App{
		Name:           "portgrave",
		Usage:          "which ports of this host are open to whom: declared, enforced, compared",
		Version:        version,
		Description:    helpDescription(),
		Flags:          globalFlags(""),
		Writer:         stdout,
		ErrWriter:      stderr,
		ExitErrHandler: func(*cli.Context, error) {}, // run decides
		OnUsageError:   usageError,
		Commands: []*cli.Command{
			verb(
				"init",
				"write a first policy that keeps your SSH open, and lists what listens",
				"[-]",
				initPolicy,
				&cli.StringSliceFlag{
					Name:  "from",
					Usage: "also let in SSH from `SOURCE`, an address or CIDR (repeatable)",
				},
				&cli.BoolFlag{Name: "force", Usage: "replace a policy that is there"},
				&cli.BoolFlag{Name: "dry-run", Usage: "print the policy, write nothing"},
			),
			verb(
				"check",
				"read policies and run their tests; exit 2 if a test fails, 3 if a policy is not valid",
				"[FILE…]",
				check,
				&cli.BoolFlag{Name: "strict", Usage: "exit 2 if there are warnings, too"},
			),
			verb(
				"plan",
				"show what apply would change; exit 2 if it would change anything",
				"",
				plan,
				rules,
				all,
				&cli.StringFlag{
					Name:  "out",
					Usage: "keep the plan in `FILE` for apply --plan",
				},
				&cli.BoolFlag{
					Name:  "no-effect",
					Usage: "don't compute who gains and who loses access",
				},
				&cli.StringFlag{
					Name:  "from",
					Usage: "begin with generation `N` (0: no rules) instead of the live kernel",
				},
				&cli.StringFlag{
					Name:  "to",
					Usage: "end with generation `N` instead of the policy; needs --from",
				},
			),
			verb(
				"apply",
				"make the kernel agree with the policy",
				"",
				apply,
				reason,
				&forceApply,
				dryRunFlag(),
				rules,
				all,
				&cli.StringFlag{
					Name:  "plan",
					Usage: "do what plan --out has kept in `FILE`, or nothing if it is out of date",
				},
				&cli.StringFlag{
					Name:  "confirm",
					Usage: "take it back after `TIME` (60s, 10m) unless you run portgrave confirm before",
				},
			),
			verb(
				"confirm",
				"keep what apply --confirm has put in force",
				"",
				confirm,
				dryRunFlag(),
			),
			verb(
				"rollback",
				"put an earlier generation in force again: N, or the last one that differs",
				"[N]",
				rollback,
				reason,
				force,
				dryRunFlag(),
				rules,
				all,
			),
			verb(
				"drift",
				"show what others changed since the last apply; exit 2 if they changed anything",
				"",
				drift,
				everyChange,
				&cli.BoolFlag{
					Name:  "log",
					Usage: "print what has happened to the rules, and who did it, as the daemon has kept it",
				},
				&cli.BoolFlag{
					Name:  "watch",
					Usage: "print what happens to the rules, and who did it, as it happens (needs the daemon)",
				},
			),
			verb(
				"log",
				"show who was refused, and at which service",
				"",
				showDenied,
				&cli.BoolFlag{
					Name:    "follow",
					Aliases: []string{"f"},
					Usage:   "print who is refused from now on, as it happens",
				},
			),
			verb(
				"status",
				"show who may reach what, what was refused, and what needs attention; or all of one service",
				"[SERVICE]",
				status,
			),
			verb(
				"open",
				"open a port to a source for a time, outside the policy",
				"<PORT>",
				openLease,
				reason,
				dryRunFlag(),
				&cli.StringSliceFlag{
					Name:  "from",
					Usage: "the `SOURCE`: an address, a CIDR or a network of the policy (repeatable)",
				},
				&cli.StringFlag{
					Name:  "for",
					Usage: "how long: `TIME` such as 30m, 2h, 1d; at most the policy's max_lease",
				},
				&cli.BoolFlag{
					Name:  "force",
					Usage: "open it even if no service lists the port (under unlisted: deny), or the source is very wide",
				},
			),
			verb(
				"close",
				"end a lease before its time; name its ID, or its port or service",
				"<LEASE>",
				closeLease,
				reason,
				dryRunFlag(),
				&cli.BoolFlag{Name: "force", Usage: "go on even if it cuts SSH sessions"},
			),
			verb(
				"leases",
				"list what is open for a time: until when, to whom, who opened it and why",
				"[PORT]",
				listLeases,
			),
			verb(
				"audit",
				"show who can really reach which port, through every rule on the host; exit 2 on warnings",
				"",
				runAudit,
				&cli.StringSliceFlag{
					Name: "ruleset",
					Usage: "read rules from `FILE` (iptables-save, ip6tables-save, ipset save, nft list ruleset " +
						"with or without -j, or a report with several of them; repeatable) instead of the kernel",
				},
				&cli.StringFlag{
					Name:  "port",
					Usage: "with --ruleset: the `PORT` to answer for (default: every port that the rules tell apart)",
				},
				&cli.StringFlag{
					Name:  "protocol",
					Usage: "with --ruleset: the protocol, `tcp|udp|sctp` (default: tcp with --port, else all)",
				},
				&cli.StringFlag{
					Name:  "interface",
					Usage: "with --ruleset: the `INTERFACE` where packets arrive (default: any but lo)",
				},
				&cli.StringFlag{
					Name:  "to",
					Usage: "with --ruleset: the `ADDRESS` that is dialled (default: any address of the host)",
				},
				&cli.BoolFlag{
					Name:  "watch",
					Usage: "print what becomes reachable, and who caused it, as it happens (needs the daemon)",
				},
				&cli.StringFlag{
					Name:  "fail-on",
					Value: string(audit.Warning),
					Usage: "exit 2 on findings of this severity or a graver one: `critical|warning|note`",
				},
				&cli.BoolFlag{
					Name:  "no-probe",
					Usage: "skip the TLS and health checks that the policy asks of services",
				},
			),
			verb(
				"explain",
				"follow one packet and its answer through every rule, and say who decides; exit 2 unless it "+
					"connects",
				"",
				explain,
				&cli.StringFlag{
					Name:  "from",
					Usage: "the client's `ADDRESS`; or a CIDR, or a network of the policy",
				},
				&cli.StringFlag{
					Name:  "to",
					Usage: "the `ADDRESS` it dials (default: that of the interface)",
				},
				&cli.StringFlag{Name: "port", Usage: "the `PORT` it dials"},
				&cli.StringFlag{
					Name:  "protocol",
					Value: "tcp",
					Usage: "the protocol: `tcp|udp|sctp`; or, without --port, ping, vrrp, esp and the like, or a number",
				},
				&cli.StringFlag{
					Name:  "interface",
					Usage: "the `INTERFACE` where the packet arrives (default: the one that leads to the client, or that has --to)",
				},
				&cli.BoolFlag{
					Name:  "path",
					Usage: "show the packet's way, rule by rule",
				},
			),
			verb(
				"import",
				"print a policy that does what this host's rules do today, and can replace them",
				"",
				importPolicy,
				&cli.StringFlag{
					Name:  "folder",
					Usage: "write policy.yaml, and long lists as files beside it, into `FOLDER`",
				},
				&cli.BoolFlag{
					Name:  "include-unknown",
					Usage: "also let in those whom a rule lets in that can't be known (mac, time, string, source port)",
				},
			),
			verb("history", "list what was applied, when, by whom, and why", "", listHistory),
			verb(
				"show",
				"show what a generation holds, in the words of its policy: N, or the newest",
				"[N]",
				showGeneration,
				&cli.BoolFlag{Name: "all", Usage: "list every source of long lists"},
			),
			verb(
				"teardown",
				"remove every rule of portgrave",
				"",
				teardown,
				dryRunFlag(),
				&cli.BoolFlag{
					Name:    "yes",
					Aliases: []string{"y"},
					Usage:   "don't ask, even on a terminal",
				},
				&cli.BoolFlag{
					Name:  "force",
					Usage: "also remove a table of our name that somebody else wrote",
				},
			),
			verb(
				"daemon",
				"keep the kernel on the policy: repair drift at once, read the policy again when it changes",
				"",
				runDaemon,
				&cli.StringFlag{
					Name:  "denied",
					Value: "log",
					Usage: "report refused packets in the log, by themselves, or not at all: `log|json|cef|off`",
				},
				&cli.StringFlag{
					Name:  "denied-file",
					Usage: "append json or cef reports to `FILE` instead of standard output",
				},
			),
			verb(
				"reload",
				"have the daemon read the policy again, and wait until it is in force",
				"",
				reload,
			),
			verb(
				"install",
				"install program, units, user and a first policy on a host without packages, or remove them",
				"",
				install,
				&cli.StringFlag{
					Name:  "root",
					Usage: "install into the system below `FOLDER`, such as an image, and run nothing",
				},
				dryRunFlag(),
				&cli.BoolFlag{Name: "now", Usage: "also start the units"},
				&cli.BoolFlag{
					Name:  "remove",
					Usage: "remove what install put in place; files changed since, the state directory and the rules in the kernel stay",
				},
				&cli.BoolFlag{
					Name:  "state",
					Usage: "with --remove: also remove the state directory (history, leases)",
				},
			),
			verb("boot", "put in force what was last confirmed, when the system starts", "", boot),
			verb("schema", "print the JSON Schema of the policy, for editors", "", printSchema),
			verb("version", "print which version of portgrave this is", "", printVersion),
			verb(
				"completion",
				"print the script that completes these verbs in a shell",
				"<bash|zsh|fish>",
				printCompletion,
			),
			verb(
				"man",
				"print a page of the manual, for man -l -",
				"<portgrave|portgrave-policy>",
				printManual,
			),
			hidden(verb(manual.Asked, "print what completes a command line", "[WORD…]", complete)),
			hidden(verb("installed", "print what an installation has put in force", "", installed)),
			hidden(
				verb(
					"takeback",
					"wait until what is on trial is confirmed, and take it back if its time is up",
					"",
					takeBack,
				),
			),
			hidden(
				verb(
					"guard",
					"take back a generation unless it is confirmed",
					"<GENERATION> [PARTNER]",
					guard,
				),
			),
			{Name: "export", Usage: "print the policy in another language", HideHelpCommand: true,
				OnUsageError: usageError,
				UsageText:    "portgrave export nft [command options]",
				// That of package cli for a verb with others below it breaks off.
				CustomHelpTemplate: cli.CommandHelpTemplate,
				Subcommands: []*cli.Command{
					verb("nft", "print the policy as a script for nft -f", "", exportNft),
				},
				Action: func(c *cli.Context) error {
					if c.Args().Present() {
						return fmt.Errorf(
							"unknown format %q: write portgrave export nft",
							c.Args().First(),
						)
					}
					return errors.New("the format is missing: write portgrave export nft")
				}},
		},
	}
	app.Action = func(c *cli.Context) error {
		switch {
		case c.Args().Present():
			return noSuchVerb(c.Args().First(), app.Commands)
		case c.String("output") == "json":
			return errNoVerb
		}
		return cli.ShowAppHelp(c)
	}
	return app
}

// hidden keeps a verb out of the help: portgrave starts it itself.
func hidden(c *cli.Command) *cli.Command {
	c.Hidden = true
	return c
}
