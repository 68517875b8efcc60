package manual

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/pattern"
)

// markdown adds text in the part of Markdown that chapters of a page may use:
//
//	# Title, ## Title     a section, a subsection
//	- text, 1. text       items of a list; their further lines are indented
//	| term | text |       a row of a table, whose first two lines name the columns: an item
//	    text              four spaces: lines that stay as they are
//	`word`, **word**      bold
//
// Everything else is a paragraph. Links keep their text.
func (p *page) markdown(text string) error {
	first := true
	for block := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		lines := strings.Split(strings.Trim(block, "\n"), "\n")
		heading := false
		switch line := lines[0]; {
		case strings.HasPrefix(line, "# "):
			p.section(line[2:])
			heading = true
		case strings.HasPrefix(line, "## "):
			p.subsection(line[3:])
			heading = true
		case strings.HasPrefix(line, "| "):
			if err := p.table(lines); err != nil {
				return err
			}
		case strings.HasPrefix(line, "    "):
			p.verbatim(strings.ReplaceAll("\n"+strings.Join(lines, "\n"), "\n    ", "\n")[1:], first)
		case item.Regexp().MatchString(line):
			p.list(lines)
		default:
			if !first {
				p.b.WriteString(".PP\n")
			}
			p.marked(lines)
		}
		if heading && len(lines) > 1 {
			return fmt.Errorf("no empty line below the heading %q", lines[0])
		}
		first = heading
	}
	return nil
}

// item begins an item of a list.
var item = pattern.New(`^(-|[0-9]+\.) `)

// list adds the items of a list. A line that begins with none belongs to the item above it.
func (p *page) list(lines []string) {
	for len(lines) > 0 {
		mark, text, _ := strings.Cut(lines[0], " ")
		if mark == "-" {
			mark = `\(bu`
		}
		end := 1
		for end < len(lines) && !item.Regexp().MatchString(lines[end]) {
			end++
		}
		fmt.Fprintf(&p.b, ".IP %s 3\n", mark)
		p.marked(append([]string{text}, lines[1:end]...))
		lines = lines[end:]
	}
}

// table adds the rows of a table as items: the first column is the term, the second its text.
func (p *page) table(lines []string) error {
	if len(lines) < 3 {
		return fmt.Errorf("a table without rows: %q", lines[0])
	}
	for _, line := range lines[2:] {
		cells := strings.Split(strings.Trim(strings.ReplaceAll(line, `\|`, "\x00"), "| "), " | ")
		if len(cells) != 2 {
			return fmt.Errorf("a row of %d cells, not of two: %q", len(cells), line)
		}
		for i := range cells {
			cells[i] = strings.ReplaceAll(cells[i], "\x00", "|")
		}
		fmt.Fprintf(&p.b, ".TP\n%s\n", marked(cells[0]))
		p.marked([]string{sentence(cells[1])})
	}
	return nil
}

// marked adds lines with words in bold.
func (p *page) marked(lines []string) {
	lines = slices.Clone(lines)
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	for line := range strings.SplitSeq(marked(strings.Join(lines, "\n")), "\n") {
		p.b.WriteString(line + "\n")
	}
}

var (
	link   = pattern.New(`\[([^\]\n]+)\]\([^)\n]+\)`)
	strong = pattern.New("`([^`]+)`|\\*\\*([^*]+)\\*\\*")
)

// marked escapes text, puts words in backquotes or asterisks in bold, and keeps the text of links.
func marked(text string) string {
	text = link.Regexp().ReplaceAllString(text, "$1")
	var b strings.Builder
	for {
		at := strong.Regexp().FindStringSubmatchIndex(text)
		if at == nil {
			break
		}
		group := 2
		if at[group] < 0 {
			group = 4
		}
		b.WriteString(text[:at[0]] + boldBegins + text[at[group]:at[group+1]] + boldEnds)
		text = text[at[1]:]
	}
	b.WriteString(text)
	lines := strings.Split(b.String(), "\n")
	for i := range lines {
		lines[i] = escape(lines[i])
	}
	fonts := strings.NewReplacer(escape(boldBegins), `\fB`, escape(boldEnds), `\fR`)
	return fonts.Replace(strings.Join(lines, "\n"))
}

// boldBegins and boldEnds stand for changes of the font until the text around them is escaped.
// They are of Unicode's private use area.
const (
	boldBegins = "\ue000"
	boldEnds   = "\ue001"
)
