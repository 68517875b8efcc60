package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

var update = flag.Bool("update", false, "write the actual output to the golden files")

// golden compares got with a file of testdata, or writes the file.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", file, d)
	}
}

func corpus(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", pattern, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files for %s: %v", pattern, err)
	}
	return files
}

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("policy.json", document); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("policy.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asJSON returns a YAML file as a validator sees it. It uses the YAML library, not our reader.
func asJSON(t *testing.T, content []byte) (any, error) {
	t.Helper()
	var value any
	if err := yaml.Unmarshal(content, &value); err != nil {
		return nil, err
	}
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(text))
}

// warnOnlyFiles reads files as a check does, because a clone of this repository may be writable by
// a group.
var warnOnlyFiles = Files{Exposed: func(Problem) {}}

func TestGoodPolicies(t *testing.T) {
	schema := compiledSchema(t)
	for _, file := range corpus(t, "good") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			p, err := Parse(file, content)
			if err != nil {
				t.Fatalf("the reader refuses it:\n%v", err)
			}
			document, err := asJSON(t, content)
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(document); err != nil {
				t.Fatalf("the schema refuses it:\n%v", err)
			}
			connected := func() ([]netip.Prefix, error) {
				return []netip.Prefix{
					netip.MustParsePrefix("192.0.2.10/24"),
					netip.MustParsePrefix("fe80::1/64"),
				}, nil
			}
			c, err := p.Compile(
				t.Context(),
				&Networks{Now: testClock, Files: warnOnlyFiles, Connected: connected},
			)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range c.RunTests(testClock()) {
				if !r.OK {
					t.Errorf("its own test fails: %+v", r)
				}
			}
			text, err := json.MarshalIndent(c.State, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".state.json", string(text)+"\n")
		})
	}
}

// TestBadPolicies compares every message and location.
func TestBadPolicies(t *testing.T) {
	schema := compiledSchema(t)
	for _, file := range append(corpus(t, "bad"), corpus(t, "bad/semantic")...) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Parse(filepath.Base(file), content)
			var problems Problems
			if !errors.As(err, &problems) {
				t.Fatalf("the reader accepts it (%v)", err)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".errors", problems.Error()+"\n")
			document, err := asJSON(t, content)
			if err != nil {
				return // the library can't parse it, so there is nothing to validate
			}
			err = schema.Validate(document)
			if semantic := strings.Contains(file, "semantic"); (err == nil) != semantic {
				t.Errorf("the schema says %v", err)
			}
		})
	}
}
