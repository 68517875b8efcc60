package manual

import (
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// Entry is a term and what is said of it.
type Entry struct{ Term, Text string }

// Reference is what stands in portgrave(8) beside the command line.
type Reference struct {
	ExitCodes, Environment, Files []Entry
	Findings                      []Entry  // of audit: a kind with its severity, and its meaning
	Warnings                      []Entry  // of check: a rule, and what it warns about
	Chapters                      []string // Markdown, as page.markdown takes it
	Examples                      []Entry  // a command, and what it does
	SeeAlso                       []string
}

// Program is the manual page of a program. It fails if a chapter has what page.markdown doesn't
// take.
func Program(app *cli.App, r Reference, date time.Time) ([]byte, error) {
	c := read(app)
	p := newPage(app.Name, 8, date, app.Name+" "+app.Version, "System Manager's Manual", app.Usage)
	p.section("Synopsis")
	p.b.WriteString(
		bold(
			app.Name,
		) + " [" + italic(
			"OPTION",
		) + "...] " + italic(
			"VERB",
		) + " [" + italic(
			"ARGUMENT",
		) + " | " + italic(
			"OPTION",
		) + "]...\n",
	)
	p.section("Description")
	p.text(c.description, true)
	p.section("Options")
	p.text("These work before and after the verb.", true)
	p.options(c.flags)
	p.section("Verbs")
	for _, verb := range c.all() {
		if verb.name == "" || len(verb.below) > 0 {
			continue
		}
		p.verb(verb, verb.own(c))
	}
	for _, chapter := range r.Chapters {
		if err := p.markdown(chapter); err != nil {
			return nil, err
		}
	}
	for _, s := range []struct {
		title   string
		entries []Entry
	}{
		{"Exit status", r.ExitCodes},
		{"Findings of audit", r.Findings},
		{"Warnings of check", r.Warnings},
		{"Environment", r.Environment},
		{"Files", r.Files},
	} {
		if len(s.entries) == 0 {
			continue
		}
		p.section(s.title)
		for _, e := range s.entries {
			p.item(bold(e.Term), sentence(e.Text))
		}
	}
	p.section("Examples")
	for i, e := range r.Examples {
		p.text(sentence(e.Text), i == 0)
		p.verbatim(e.Term, false)
	}
	p.section("See also")
	p.seeAlso(r.SeeAlso)
	return p.bytes(), nil
}

// verb adds one verb: what it does, and the options that are its own.
func (p *page) verb(c command, own []option) {
	heading := c.name
	if len(own) > 0 {
		heading += " [OPTION...]"
	}
	if c.synopsis != "" {
		heading += " " + c.synopsis
	}
	p.subsection(heading)
	p.text(sentence(c.usage), true)
	if c.description != "" {
		p.text(c.description, false)
	}
	p.options(own)
}

func (p *page) options(list []option) {
	for _, o := range list {
		var terms []string
		for _, n := range o.names {
			term := bold(n)
			if o.placeholder != "" {
				term += " " + italic(o.placeholder)
			}
			terms = append(terms, term)
		}
		text := sentence(o.usage)
		if o.standard != "" {
			text += " The default is " + o.standard + "."
		}
		p.item(strings.Join(terms, ", "), text)
	}
}

// seeAlso adds names of pages such as nft(8).
func (p *page) seeAlso(pages []string) {
	for i, name := range pages {
		name, section, _ := strings.Cut(name, "(")
		end := ",\n"
		if i == len(pages)-1 {
			end = "\n"
		}
		p.b.WriteString(bold(name) + "(" + escape(section) + end)
	}
}

// sentence turns the short words of a usage into one.
func sentence(s string) string {
	if s == "" || strings.HasSuffix(s, ".") {
		return capital(s)
	}
	return capital(s) + "."
}
