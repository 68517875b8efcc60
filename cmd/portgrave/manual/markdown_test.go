package manual

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// page.markdown turns each of its forms into macros of man, and refuses what it would misread.
func TestMarkdown(t *testing.T) {
	p := &page{}
	err := p.markdown("# On deck\n\nA `--flag`, **loud**.\n.dots [there](x.md)\n\n## Below\n\n" +
		"    ferry load\n      x\n\n- one\n  two\n- three\n\n1. first\n\n" +
		"| word | meaning |\n|---|---|\n| `a\\|b`, `c` | either |\n")
	if err != nil {
		t.Fatal(err)
	}
	want := `.SH "ON DECK"
A \fB\-\-flag\fR, \fBloud\fR.
\&.dots there
.SS "Below"
.nf
.RS 4
ferry load
  x
.RE
.fi
.IP \(bu 3
one
two
.IP \(bu 3
three
.IP 1. 3
first
.TP
\fBa|b\fR, \fBc\fR
Either.
`
	if d := cmp.Diff(want, p.b.String()); d != "" {
		t.Error(d)
	}
	for _, wrong := range []string{
		"# Title\ntext",
		"| a | b |\n|---|---|",
		"| a | b |\n|---|---|\n| x | y | z |",
	} {
		if err := (&page{}).markdown(wrong); err == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
}
