package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// parseTimeout is far more than a file within the limits takes, even with the race detector on a
// busy machine. Without the limits, each hostile file takes minutes, all memory, or the stack.
const parseTimeout = 60 * time.Second

// TestHostileYAML checks that files which would exhaust the parser are refused in time.
func TestHostileYAML(t *testing.T) {
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := 1; i < 30; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10))
	}
	var keys, merges strings.Builder
	merges.WriteString("b: &b\n")
	for i := range 30_000 {
		fmt.Fprintf(&keys, "k%d: 1\n", i)
		if i < 10_000 {
			fmt.Fprintf(&merges, "  k%d: 1\n", i)
		}
	}
	merges.WriteString("c:\n" + strings.Repeat("  - <<: *b\n", 10_000))
	const deeper, many, aliases = "nested deeper than 16 levels", "too many values",
		"its aliases and merge keys expand to more than a policy can hold"
	for name, c := range map[string]struct{ content, message string }{
		"brackets":        {strings.Repeat("[", 100_000), deeper},
		"braces":          {strings.Repeat("{a: ", 100_000), deeper},
		"dashes":          {strings.Repeat("- ", 100_000), deeper},
		"question marks":  {strings.Repeat("? ", 100_000), deeper},
		"colons":          {strings.Repeat("a: ", 100_000), deeper},
		"anchors":         {strings.Repeat("&a ", 100_000), deeper},
		"tags":            {strings.Repeat("!a ", 100_000), deeper},
		"empty entries":   {strings.Repeat("-\n", 100_000), "more than 10000 empty list entries"},
		"keys":            {keys.String(), "too many keys in one mapping"},
		"a long key":      {strings.Repeat("k", 100_000) + ": 1", "a key of more than 64 characters"},
		"many values":     {"[" + strings.Repeat("1,", 1_000_000), many},
		"many lines":      {strings.Repeat("\n", 1_000_000), many},
		"alias bomb":      {bomb, aliases},
		"merge bomb":      {merges.String(), aliases},
		"aliases only":    {strings.Repeat("*a ", 100_000), "not valid YAML"},
		"quotes":          {strings.Repeat(`"`, 5_000), "not valid YAML"},
		"alias of itself": {"a: &a {b: *a}", "alias *a stands inside what it stands for"},
		"merge of itself": {"a: &a {<<: *a}", "alias *a stands inside what it stands for"},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, err := Parse("hostile.yaml", []byte(c.content))
			if err == nil || !strings.Contains(err.Error(), c.message) {
				t.Errorf("the error is %.300v", err)
			}
			if took := time.Since(start); took > parseTimeout {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestManyMistakes checks that the number of reported mistakes is limited.
func TestManyMistakes(t *testing.T) {
	var b strings.Builder
	b.WriteString("version: 1\nservices:\n")
	for i := range 20_000 {
		fmt.Fprintf(&b, "  - {name: s%d, prot: 1, allow: [nowhere]}\n", i)
	}
	_, err := Parse("policy.yaml", []byte(b.String()))
	lines := strings.Split(err.Error(), "\n")
	if last := lines[len(lines)-1]; len(lines) != maxProblems+1 || !strings.Contains(last, "more") {
		t.Errorf("%d lines, the last is %q", len(lines), last)
	}
}

// TestLargePolicies checks that realistic large policies are read and compiled in about the time
// that parsing takes.
func TestLargePolicies(t *testing.T) {
	var services, inline strings.Builder
	services.WriteString("version: 1\nnetworks: {office: [203.0.113.0/24]}\nservices:\n")
	for i := range 10_000 {
		fmt.Fprintf(&services,
			"  - {name: s%d, port: %d, allow: [office, 10.%d.%d.0/24], owner: sre}\n",
			i, i+1, i>>8, i&255)
	}
	inline.WriteString("version: 1\nservices:\n  - name: a\n    allow:\n")
	for i := range 100_000 {
		fmt.Fprintf(&inline, "      - 10.%d.%d.%d\n", i>>15, i>>7&255, i<<1&255)
	}
	for name, content := range map[string]string{"services": services.String(), "sources": inline.String()} {
		start := time.Now()
		c := mustCompile(t, content)
		if took := time.Since(start); took > parseTimeout {
			t.Errorf("%s: it took %v", name, took)
		} else {
			t.Logf("%s: %d services in %v", name, len(c.State.Services), took)
		}
	}
}
