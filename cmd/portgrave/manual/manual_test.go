package manual

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"
)

// small is a command line with one of each thing.
func small() *cli.App {
	shared := []cli.Flag{
		&cli.StringFlag{
			Name:    "output",
			Aliases: []string{"o"},
			Value:   "text",
			Usage:   "print `text|json`",
		},
	}
	return &cli.App{
		Name: "ferry", Version: "1.2-3", Usage: "carry people's things", Description: "It goes over.\n\nAnd back.", Flags: shared,
		Commands: []*cli.Command{
			{
				Name:        "load",
				Usage:       "take a file on board",
				Description: ".dots and 'quotes' at its start",
				ArgsUsage:   "[FILE]",
				Flags: append([]cli.Flag{
					&cli.BoolFlag{Name: "force", Usage: "although it's full"},
					&cli.IntFlag{Name: "deck", Usage: "put it on deck `N`"},
					&cli.StringFlag{Name: "secret", Hidden: true},
				}, shared...),
			},
			{Name: "sink", Hidden: true},
			{
				Name:  "tell",
				Usage: "say where it is",
				Subcommands: []*cli.Command{
					{Name: "time", Usage: "in a \\-time", ArgsUsage: "<utc|local>", Flags: shared},
				},
			},
		},
	}
}

func TestProgram(t *testing.T) {
	got, err := Program(small(), Reference{
		ExitCodes: []Entry{
			{"0", "fine"},
		}, Environment: []Entry{{"FERRY_HOME", "where it sleeps…"}}, Files: []Entry{{"/etc/ferry", "its routes"}},
		Examples: []Entry{
			{"ferry load x\nferry tell time utc", "carry x"},
		}, SeeAlso: []string{"boat(1)", "ship-of(8)"},
	}, time.Date(2026, 1, 2, 23, 0, 0, 0, time.FixedZone("", -3600*5)))
	if err != nil {
		t.Fatal(err)
	}
	want := `.TH "FERRY" 8 "2026-01-03" "ferry 1.2\-3" "System Manager\(aqs Manual"
.nh
.ad l
.SH "NAME"
ferry \- carry people\(aqs things
.SH "SYNOPSIS"
\fBferry\fR [\fIOPTION\fR...] \fIVERB\fR [\fIARGUMENT\fR | \fIOPTION\fR]...
.SH "DESCRIPTION"
It goes over.
.PP
And back.
.SH "OPTIONS"
These work before and after the verb.
.TP
\fB\-\-output\fR \fItext|json\fR, \fB\-o\fR \fItext|json\fR
Print text|json. The default is text.
.SH "VERBS"
.SS "load [OPTION...] [FILE]"
Take a file on board.
.PP
\&.dots and \(aqquotes\(aq at its start
.TP
\fB\-\-force\fR
Although it\(aqs full.
.TP
\fB\-\-deck\fR \fIN\fR
Put it on deck N.
.SS "tell time <utc|local>"
In a \e\-time.
.SH "EXIT STATUS"
.TP
\fB0\fR
Fine.
.SH "ENVIRONMENT"
.TP
\fBFERRY_HOME\fR
Where it sleeps\[u2026].
.SH "FILES"
.TP
\fB/etc/ferry\fR
Its routes.
.SH "EXAMPLES"
Carry x.
.PP
.nf
.RS 4
ferry load x
ferry tell time utc
.RE
.fi
.SH "SEE ALSO"
\fBboat\fR(1),
\fBship\-of\fR(8)
`
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Error(d)
	}
	undated, err := Program(small(), Reference{}, time.Time{})
	if err != nil || !strings.HasPrefix(string(undated), `.TH "FERRY" 8 "" "ferry`) {
		t.Errorf("a page without a date begins with %.50s (%v)", undated, err)
	}
}

func TestLanguage(t *testing.T) {
	page, err := Language{
		Name:    "route",
		Summary: "where it goes",
		Source:  "ferry",
		Example: "to: there\n",
		Files:   []Entry{{"/etc/route", "it"}},
		SeeAlso: []string{"ferry(8)"},
		Schema: []byte(`{"description": "A route.", "properties": {
		"zone": {"description": "Where.", "enum": ["near", "far"], "default": "near"},
		"at": {"description": "When.", "anyOf": [{"title": "an hour", "type": "integer"}, {"title": "an hour or a minute", "type": "string"}], "default": 7},
		"stops": {"title": "a list of stops", "description": "Which.", "items": {"title": "a stop", "required": ["name"], "oneOf": [{"required": ["port"]}, {"required": ["pier"]}], "properties": {
			"name": {"title": "text", "description": "Its name."}, "port": {"title": "a port", "description": "A port."}, "pier": {"title": "text", "description": "A pier."}}}},
		"boats": {"description": "Boats.", "patternProperties": {"^.*$": {"title": "a boat", "properties": {"crew": {"description": "Who."}}}}}
	}}`),
	}.Page(
		time.Time{},
	)
	if err != nil {
		t.Fatal(err)
	}
	_, keys, _ := strings.Cut(string(page), ".SH \"KEYS\"\n")
	keys, _, _ = strings.Cut(keys, ".SH \"FILES\"\n")
	want := `.TP
\fBzone:\fR \fInear | far\fR
Where. The default is near.
.TP
\fBat:\fR
When. The value is an hour or a minute. The default is 7.
.TP
\fBstops:\fR
Which. The value is a list of stops.
.TP
\fBboats:\fR
Boats.
.SS "stops[]"
A stop has these keys.
.TP
\fBname:\fR
Its name. The key is required.
.TP
\fBport:\fR
A port. Exactly one of port and pier is required.
.TP
\fBpier:\fR
A pier. Exactly one of port and pier is required.
.SS "boats.NAME"
A boat has these keys.
.TP
\fBcrew:\fR
Who.
.SH "EXAMPLE"
.nf
.RS 4
to: there
.RE
.fi
`
	if d := cmp.Diff(want, keys); d != "" {
		t.Error(d)
	}
	for name, schema := range map[string]string{
		"no JSON":                    "{",
		"no properties":              `{"description": "x"}`,
		"properties of another kind": `{"properties": []}`,
	} {
		if page, err := (Language{
			Name: "route", Schema: []byte(schema),
		}).Page(time.Time{}); err == nil {
			t.Errorf("%s made a page: %s", name, page)
		}
	}
}

func TestPlaceholders(t *testing.T) {
	for placeholder, want := range map[string]completion{
		"FILE": {kind: files}, "FILE…": {kind: files}, "DIR": {kind: folders}, "N": {kind: Generations}, "LEASE": {kind: Leases}, "INTERFACE": {kind: Interfaces},
		"text|json": {words: []string{"text", "json"}}, "TIME": {}, "VALUE": {},
	} {
		if d := cmp.Diff(want, completes(placeholder), cmp.AllowUnexported(completion{})); d != "" {
			t.Errorf("%s: %s", placeholder, d)
		}
	}
}

func TestComplete(t *testing.T) {
	values := func(kind string) ([]Entry, error) { return []Entry{{"7", kind}}, nil }
	for _, c := range []struct{ words, want string }{
		{"", "load:take a file on board tell:say where it is"},
		{"l", "load:take a file on board tell:say where it is"},
		{"-", "--output:print text|json -o:print text|json"},
		{"load -", "--force:although it's full --deck:put it on deck N --output:print text|json -o:print text|json"},
		{"load --deck ", "7:generations"},
		{"load --deck=", "--deck=7:generations"},
		{"load --deck =", "7:generations"},
		{"load --deck = 3", "7:generations"},
		{"load --deck 3 ", ":files:"},
		{"load --deck = 3 ", ":files:"},
		{"load --deck=3 ", ":files:"},
		{"load --force ", ":files:"},
		{"load --force = true ", ":files:"},
		{"load file ", ""},
		{"--output ", "text: json:"},
		{"-o json tell ", "time:in a \\-time"},
		{"tell time ", "utc: local:"},
		{"tell time --output=", "--output=text: --output=json:"},
		{"tell time utc ", ""},
		{"load --secret ", ":files:"},
		{"sink -", "--output:print text|json -o:print text|json"},
	} {
		list, err := Complete(small(), strings.Split(c.words, " "), values)
		var got []string
		for _, e := range list {
			got = append(got, e.Term+":"+e.Text)
		}
		if strings.Join(got, " ") != c.want || err != nil {
			t.Errorf(
				"%q is completed with %q, want %q (%v)",
				c.words,
				strings.Join(got, " "),
				c.want,
				err,
			)
		}
	}
	if _, err := Complete(small(), nil, values); err != nil {
		t.Error(err)
	}
}

// TestScripts looks at the scripts for shells; that they understand it is tried with real ones on
// the real command line.
func TestScripts(t *testing.T) {
	for _, shell := range Shells() {
		script, err := Completion(shell, small())
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(
			script,
			"# "+shell+" completion for ferry, made by: ferry completion "+shell+"\n",
		)
		if first != "" && first != "#compdef ferry\n" || strings.Contains(script, "PROGRAM") ||
			!strings.Contains(script, "ferry complete -- ") {
			t.Errorf("the script for %s:\n%s", shell, script)
		}
	}
	if _, err := Completion("tcsh", small()); err == nil ||
		!strings.Contains(err.Error(), "bash, zsh and fish") {
		t.Errorf("another shell is answered with %v", err)
	}
}

// The last argument of a verb that takes several is completed each time.
func TestCompleteRepeatedArgument(t *testing.T) {
	app := small()
	app.Commands[0].ArgsUsage = "[FILE…]"
	list, err := Complete(app, []string{"load", "one", "two", ""}, nil)
	if err != nil || len(list) != 1 || list[0].Term != ":files" {
		t.Errorf("%v, %v", list, err)
	}
}
