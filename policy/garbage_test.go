package policy

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// threadTime is the processor time that the calling thread has used.
func threadTime(t *testing.T) time.Duration {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now); err != nil {
		t.Fatal(err)
	}
	return time.Duration(now.Nano())
}

// A file of 10 MiB that isn't a list gives its mistakes in a time that is a small multiple of what a
// list of that size takes, whatever its lines look like. Without a bound it was 200 times as long.
func TestGarbageIsRefusedSoon(t *testing.T) {
	const size, multiple = 10 << 20, 40
	timed := func(t *testing.T, o listReader, line func(i int) string) (time.Duration, error) {
		var text strings.Builder
		for i := 0; text.Len() < size; i++ {
			text.WriteString(line(i))
			text.WriteByte('\n')
		}
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		begin := threadTime(t)
		_, err := o.read(strings.NewReader(text.String()))
		return threadTime(t) - begin, err
	}
	list, err := timed(t, listReader{name: "list.txt", limit: 2_000_000}, func(i int) string {
		return fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)
	})
	if err != nil {
		t.Fatal(err)
	}
	formats := []string{
		"*filter", "acl foo", "define x = 3", "%%", "inetnum: x", "---", "} ", "flags interval",
	}
	for name, c := range map[string]struct {
		line    func(i int) string
		selects string
	}{
		"one letter": {func(int) string { return "x" }, ""},
		"names":      {func(i int) string { return fmt.Sprintf("host%d.example.com", i) }, ""},
		"addresses, words": {func(i int) string {
			return fmt.Sprintf("10.0.%d.%d foo", i>>8&255, i&255)
		}, ""},
		"keys":          {func(i int) string { return fmt.Sprintf("a%d: 10.0.0.1", i) }, ""},
		"long lines":    {func(int) string { return "A" + strings.Repeat("w,", 20_000) }, ""},
		"mixed formats": {func(i int) string { return formats[i%len(formats)] }, ""},
		"JSON strings":  {func(i int) string { return fmt.Sprintf(`"host%d x"`, i) }, "$"},
		"JSON nulls":    {func(int) string { return `{"a": null}` }, "$.a"},
	} {
		t.Run(name, func(t *testing.T) {
			o := listReader{name: "list.txt", limit: 1_000_000}
			if c.selects != "" {
				path, err := parseSelect(c.selects)
				if err != nil {
					t.Fatal(err)
				}
				o.selects = path
			}
			took, err := timed(t, o, c.line)
			var problems Problems
			if !errors.As(err, &problems) || len(problems) == 0 {
				t.Fatalf("the error is %v", err)
			}
			if took > multiple*list {
				t.Errorf("%d problems after %v, a list takes %v: %v", len(problems), took, list,
					problems[0])
			}
		})
	}
}

// Where many entries are refused for few reasons, it is said that the others aren't looked at.
func TestManyRefusedEntries(t *testing.T) {
	text := strings.Repeat("add guests 192.0.2.1,80\n", maxRefused+10) + "definitely.not\n"
	_, err := listReader{name: "list.txt", limit: 1_000_000}.read(strings.NewReader(text))
	var problems Problems
	if !errors.As(err, &problems) || len(problems) != 2 ||
		!strings.Contains(problems[0].Message, "ipset save") ||
		!strings.Contains(problems[1].Error(), "list.txt:10000:1: 10000 entries are refused") {
		t.Errorf("the error is %v", err)
	}
}
