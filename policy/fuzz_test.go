package policy

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/address"
)

// FuzzRead checks for any file that the reader ends soon, never panics, and says where the mistake
// is. If it accepts the file, the policy compiles and the schema accepts it too.
func FuzzRead(f *testing.F) {
	for _, pattern := range []string{"testdata/good/", "testdata/bad/", "testdata/bad/semantic/"} {
		files, err := os.ReadDir(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			if content, err := os.ReadFile(pattern + file.Name()); err == nil &&
				strings.HasSuffix(file.Name(), ".yaml") {
				f.Add(content)
			}
		}
	}
	for _, s := range []string{"a: &a [*a]", "- ? - ? [{", "%YAML 1.2\n---\n", "? |\n x\n: >-\n y", "<<: <<", "\"\\x00\"", "a: !!binary =", "'", "a:\n- b\n -c"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		start := time.Now()
		p, err := Parse("fuzz.yaml", content)
		if took := time.Since(start); took > 10*time.Second {
			t.Fatalf("%d bytes took %v", len(content), took)
		}
		if err != nil {
			var problems Problems
			if !errors.As(err, &problems) || len(problems) == 0 {
				t.Fatalf("the error is no list of problems: %v", err)
			}
			for _, x := range problems {
				if x.File != "fuzz.yaml" || x.Message == "" || x.Line < 0 || x.Column < 0 ||
					x.Line > 0 && x.Column == 0 {
					t.Fatalf("%+v", x)
				}
				if strings.Contains(x.Message, "can't be read as YAML") {
					t.Logf("the parser panicked: %s", x.Message)
				}
			}
			return
		}
		for _, n := range p.networks {
			if n.external() {
				return
			}
		}
		if _, err := p.Compile(t.Context(), &Networks{Offline: true}); err != nil {
			t.Fatalf("accepted and not compiled: %v", err)
		}
	})
}

// parseList reads a list in memory.
func parseList(content []byte, limit int) (address.Set, error) {
	list, err := listReader{
		name:  "list.txt",
		size:  int64(len(content)),
		limit: limit,
	}.read(
		bytes.NewReader(content),
	)
	return list.prefixes, err
}

// FuzzNetworkFile checks that a list is accepted or refused as a whole.
func FuzzNetworkFile(f *testing.F) {
	for _, s := range []string{"", "10.0.0.0/8\n", "# x\r\n2001:db8::1 # y\r\n", "<html>", "10.0.0.1/8", "::ffff:1.2.3.4", "fe80::1%a", "0.0.0.0/0\n::/0", "1.2.3.4/032"} {
		f.Add([]byte(s))
	}
	for _, c := range formatCases {
		f.Add([]byte(c.content))
		f.Add([]byte(gzipped(f, c.content)))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		list, err := parseList(content, 1000)
		if err != nil {
			if list.Len() != 0 {
				t.Fatal("refused and returned")
			}
			return
		}
		again, err := parseList([]byte(strings.Join(list.Strings(), "\n")), 1_000_000)
		if err != nil || !again.Equal(list) {
			t.Fatalf("written out and read again: %v, %v", again.Strings(), err)
		}
	})
}

// FuzzSelect checks for any document and path that the reader ends soon, never panics, and never
// accepts an empty selection.
func FuzzSelect(f *testing.F) {
	for _, c := range formatCases {
		if c.path != "" {
			f.Add([]byte(c.content), c.path)
		}
	}
	f.Fuzz(func(t *testing.T, content []byte, path string) {
		selects, err := parseSelect(path)
		if err != nil {
			return
		}
		start := time.Now()
		list, err := listReader{name: "list",
			limit: 1000, selects: selects}.read(bytes.NewReader(content))
		if took := time.Since(start); took > 10*time.Second {
			t.Fatalf("%d bytes took %v with %s", len(content), took, path)
		}
		switch blank := len(bytes.TrimSpace(bytes.TrimPrefix(content, byteOrderMark))) == 0; {
		case err != nil && list.prefixes.Len() > 0:
			t.Fatal("refused and returned")
		case err == nil && list.prefixes.Len() == 0 && !blank:
			t.Fatal("nothing was taken for a list")
		}
	})
}

// FuzzJSON checks that the scanner accepts what json.Valid accepts, and decodes the same values.
func FuzzJSON(f *testing.F) {
	for _, c := range formatCases {
		f.Add([]byte(c.content))
	}
	for _, s := range []string{`"\u00e4\n\/"`, `"\u00g4"`, `"\x"`, "\"\t\"", "-0.5e+3", "01", "+1", "1.", "{,}", `{"a":1,}`,
		"[1,]", "[1 2]", `{"a" 1}`, "nul", "[true,false,null]", "1 2", `{"a":{"b":[[],{}]}}`, "1e999", "\"\x00\"", "]"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		s := jsonScanner{in: bufio.NewReaderSize(bytes.NewReader(content), 16), line: 1, column: 1}
		_, err := s.expect()
		if err == nil {
			err = s.skip(maxDepth)
		}
		if err == errTooDeep || err == errWordTooLong {
			return
		}
		if err == nil {
			if _, end := s.peek(); end != io.EOF {
				err = notJSON("it goes on")
			}
		}
		if valid := json.Valid(content); valid != (err == nil) {
			t.Fatalf("valid is %v, and %v", valid, err)
		}
		if line := 1 + bytes.Count(content, []byte("\n")); err == nil && s.line != line {
			t.Fatalf("line %d of %d", s.line, line)
		}
	})
}
