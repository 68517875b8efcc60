package nfttext

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/nftjson"
	"github.com/portgrave/portgrave/firewall/pattern"
)

// Read reads nft's text and adds its tables to rs. Errors and origins contain name.
//
//	table inet filter {
//		chain input {
//			type filter hook input priority filter; policy drop;
//			tcp dport 22 accept
//		}
//	}
//
// Errors read "name:line:column: what is wrong, and what to do". After an error, rs is unchanged.
func Read(name string, r io.Reader, rs *exposure.Ruleset) error {
	b, err := exposure.ReadText(name, r,
		"list the tables that matter one by one (`nft list table …`)")
	if err != nil {
		return err
	}
	text := exposure.StringOf(b)
	s := &script{lines: newLines(text),
		lexer: lexer{
			text:    text,
			end:     len(text),
			defines: &defines{values: map[string][]definition{}},
		}}
	if err = s.commands(); err == nil {
		err = s.fill(name, rs)
	}
	if err != nil {
		at := 0
		if p := (*positionError)(nil); errors.As(err, &p) {
			at = min(max(p.at, 0), len(text))
		}
		column := at - strings.LastIndexByte(text[:at], '\n')
		return fmt.Errorf("%s:%d:%d: %w", name, s.lines.of(at), column, err)
	}
	return nil
}

// fill adds everything to the ruleset: rules last, as they refer to the rest.
func (s *script) fill(name string, rs *exposure.Ruleset) error {
	d := nftjson.NewDocument(name, rs)
	d.Open = len(s.defines.included) > 0
	for _, t := range s.tables {
		if err := s.fillTable(d, t); err != nil {
			return err
		}
	}
	for _, t := range s.tables {
		for _, c := range t.chains {
			if err := s.fillIncluded(d, c); err != nil {
				return err
			}
			slices.Reverse(c.inserted)
			for _, part := range append(c.inserted, c.rules...) {
				if err := s.fillRule(d, c, part); err != nil {
					return err
				}
			}
		}
	}
	if err := d.Finish(rs); err != nil {
		if l := (*exposure.Loop)(nil); errors.As(err, &l) {
			return &positionError{s.lines.begin(l.Rule.Origin.Line), err}
		}
		return err
	}
	for _, file := range s.defines.included {
		rs.Missing = append(rs.Missing, exposure.Missing{
			What: fmt.Sprintf("%s, which %s includes", firewall.Excerpt(file), name),
			Why: "included files aren't read, so nothing is certain: put them in there, or give the " +
				"output of `nft list ruleset`",
		})
	}
	return nil
}

// fillIncluded adds a rule that may do anything to the beginning of a base chain, if files are
// included: they may insert and append rules. Chains and tables of their own are Ruleset.Missing.
func (s *script) fillIncluded(d *nftjson.Document, c *chain) error {
	if len(s.defines.included) == 0 || c.Hook == "" {
		return nil
	}
	const what = "rules of included files"
	return d.AddRule(nftjson.Rule{
		Family: c.Family, Table: c.Table, Chain: c.Name, Line: c.Line, Text: what,
		Expr: []map[string]any{{nftjson.Unparsed: what}},
	})
}

func (s *script) fillTable(d *nftjson.Document, t *table) error {
	if err := d.AddTable(t.Table); err != nil {
		return err
	}
	for _, c := range t.chains {
		if err := d.AddChain(c.Chain); err != nil {
			return err
		}
	}
	for _, x := range t.sets {
		if err := d.AddSet(x.Set); err != nil {
			return err
		}
		for _, part := range x.elements {
			if err := d.AddElements(x.Place, s.elementsOf(part)); err != nil {
				return &positionError{part.from, err}
			}
		}
	}
	for _, o := range t.others {
		if err := d.AddOther(o[0], t.place(o[1])); err != nil {
			return err
		}
	}
	return nil
}

// elementsOf yields the elements in a part of the text. Text that isn't understood becomes an
// element without a model.
func (s *script) elementsOf(part span) iter.Seq[any] {
	return func(yield func(any) bool) {
		l := s.part(part)
		open, err := l.next()
		if err == nil && !open.is("{") {
			err = unexpected(open, `"{"`)
		}
		if err == nil {
			err = l.eachElement(open, yield)
		}
		if err != nil && !errors.Is(err, errStopped) {
			yield(expr{nftjson.Unparsed: err.Error()})
		}
	}
}

func (s *script) fillRule(d *nftjson.Document, c *chain, part span) error {
	r := nftjson.Rule{Family: c.Family, Table: c.Table, Chain: c.Name, Line: s.lines.of(part.from)}
	s.part(part).rule(&r)
	r.Text = shown(s.text[part.from:part.to])
	if err := d.AddRule(r); err != nil {
		return &positionError{part.from, err}
	}
	return nil
}

// maxShown is the most bytes of a rule's text that are kept: a set in it may have any number of
// elements.
const maxShown = 4096

var (
	handle = pattern.New(`[ \t]*# handle [0-9]+$`)
	breaks = pattern.New(`[ \t]*\\?\r?\n[ \t]*`)
)

// shown is a rule as it was written, in one line.
func shown(s string) string {
	if len(s) > maxShown {
		s = strings.ToValidUTF8(s[:maxShown], "") + "…"
	}
	s = strings.TrimSpace(s)
	if strings.Contains(s, "# handle ") {
		s = handle.Regexp().ReplaceAllString(s, "")
	}
	if strings.Contains(s, "\n") {
		s = breaks.Regexp().ReplaceAllString(s, " ")
	}
	return s
}

// lines finds the line of an offset. It stores the offset of each 256th line.
type lines struct {
	text  string
	marks []int
}

const linesPerMark = 256

func newLines(text string) lines {
	l := lines{text: text, marks: []int{0}}
	n := 0
	for at := 0; ; {
		i := strings.IndexByte(text[at:], '\n')
		if i < 0 {
			return l
		}
		at += i + 1
		if n++; n%linesPerMark == 0 {
			l.marks = append(l.marks, at)
		}
	}
}

// of returns the number of the line at an offset, from 1.
func (l lines) of(at int) int {
	i, found := slices.BinarySearch(l.marks, at)
	if !found {
		i--
	}
	return i*linesPerMark + strings.Count(l.text[l.marks[i]:at], "\n") + 1
}

// begin returns the offset at which a line begins.
func (l lines) begin(line int) int {
	at := l.marks[(line-1)/linesPerMark]
	for range (line - 1) % linesPerMark {
		at += strings.IndexByte(l.text[at:], '\n') + 1
	}
	return at
}
