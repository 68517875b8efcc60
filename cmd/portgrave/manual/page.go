package manual

import (
	"fmt"
	"strings"
	"time"
)

// page is a manual page in the making, in the man macros that groff and mandoc read.
type page struct{ b strings.Builder }

// newPage begins a page. A zero date leaves it out.
func newPage(name string, section int, date time.Time, source, volume, summary string) *page {
	p := &page{}
	day := ""
	if !date.IsZero() {
		day = date.UTC().Format(time.DateOnly)
	}
	// The date is not escaped: it is read, not only shown.
	fmt.Fprintf(
		&p.b,
		".TH %s %d \"%s\" %s %s\n",
		quoted(strings.ToUpper(name)),
		section,
		day,
		quoted(source),
		quoted(volume),
	)
	p.b.WriteString(".nh\n.ad l\n") // words and flags are not broken, lines not stretched
	p.section("Name")
	fmt.Fprintf(&p.b, "%s \\- %s\n", escape(name), escape(summary))
	return p
}

func (p *page) section(
	title string,
) {
	fmt.Fprintf(&p.b, ".SH %s\n", quoted(strings.ToUpper(title)))
}

func (p *page) subsection(title string) { fmt.Fprintf(&p.b, ".SS %s\n", quoted(title)) }

// text adds paragraphs; an empty line stands between them. first leaves out the space above the
// first, as after a heading.
func (p *page) text(text string, first bool) {
	for i, paragraph := range strings.Split(text, "\n\n") {
		if i > 0 || !first {
			p.b.WriteString(".PP\n")
		}
		p.lines(paragraph)
	}
}

// item adds a term, already escaped, and what is said of it.
func (p *page) item(term, text string) {
	fmt.Fprintf(&p.b, ".TP\n%s\n", term)
	for i, paragraph := range strings.Split(text, "\n\n") {
		if i > 0 {
			p.b.WriteString(".IP\n")
		}
		p.lines(paragraph)
	}
}

// verbatim adds lines that stay as they are.
func (p *page) verbatim(text string, first bool) {
	if !first {
		p.b.WriteString(".PP\n")
	}
	p.b.WriteString(".nf\n.RS 4\n")
	p.lines(strings.TrimRight(text, "\n"))
	p.b.WriteString(".RE\n.fi\n")
}

func (p *page) lines(text string) {
	for line := range strings.SplitSeq(text, "\n") {
		p.b.WriteString(escape(line) + "\n")
	}
}

func (p *page) bytes() []byte { return []byte(p.b.String()) }

func bold(s string) string   { return `\fB` + escape(s) + `\fR` }
func italic(s string) string { return `\fI` + escape(s) + `\fR` }

// quoted is an argument of a macro.
func quoted(s string) string { return `"` + strings.ReplaceAll(escape(s), `"`, `\(dq`) + `"` }

// escape writes text so that each character stays itself: dashes can be copied, no line is taken
// for a macro.
func escape(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case i == 0 && (r == '.' || r == '\''):
			b.WriteString(`\&`)
			if r == '\'' {
				b.WriteString(`\(aq`)
			} else {
				b.WriteRune(r)
			}
		case r == '\\':
			b.WriteString(`\e`)
		case r == '-':
			b.WriteString(`\-`)
		case r == '\'':
			b.WriteString(`\(aq`)
		case r == '`':
			b.WriteString(`\(ga`)
		case r == '^':
			b.WriteString(`\(ha`)
		case r == '~':
			b.WriteString(`\(ti`)
		case r > 126:
			fmt.Fprintf(&b, `\[u%04X]`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
