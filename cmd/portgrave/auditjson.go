package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"io"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
)

// writeReport writes a report as screen.object would, but a source at a time: each row may have a
// million, and encoding/json holds all that it writes several times over.
func writeReport(out io.Writer, r audit.Report) error {
	w := &auditWriter{out: bufio.NewWriterSize(out, auditBuffer)}
	w.text("{\n  \"exposures\": [")
	writeRows(w, r.Exposures, func(x audit.Exposure) (audit.Exposure, []sourceList) {
		lists := []sourceList{
			{"certain", x.Reachable.Certain},
			{"possible", x.Reachable.Possible},
			{"allowed", x.Allowed},
		}
		x.Reachable, x.Allowed = audit.Bounds{}, address.Set{}
		return x, lists
	})
	w.text("],\n  \"findings\": [")
	writeRows(w, r.Findings, func(f audit.Finding) (audit.Finding, []sourceList) {
		lists := []sourceList{{"sources", f.Sources}}
		f.Sources = address.Set{}
		return f, lists
	})
	w.text("]")
	// What remains are its members but the first two.
	r.Exposures, r.Findings = nil, nil
	rest := w.encoded(r, "")
	if _, members, more := bytes.Cut(rest, []byte("\"findings\": null,")); more {
		w.text("," + string(members) + "\n")
	} else {
		w.text("\n}\n")
	}
	return cmp.Or(w.err, w.out.Flush())
}

// auditBuffer is how many bytes are written at once.
const auditBuffer = 64 << 10

type auditWriter struct {
	out *bufio.Writer
	err error // of encoding; out keeps its own
}

func (w *auditWriter) text(s string) { _, _ = w.out.WriteString(s) }

// sourceList is a list of sources in a row, under its name in JSON.
type sourceList struct {
	name string
	set  address.Set
}

// encoded is a value as indented JSON, without the line's end.
func (w *auditWriter) encoded(v any, prefix string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent(prefix, "  ")
	if err := e.Encode(v); err != nil && w.err == nil {
		w.err = err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// writeRows writes rows. split takes the lists of sources out of a row, in the order in which the
// row has them; each then stands there as an empty one.
func writeRows[T any](w *auditWriter, rows []T, split func(T) (T, []sourceList)) {
	const indent = "    "
	for i, row := range rows {
		if i > 0 {
			w.text(",")
		}
		w.text("\n" + indent)
		row, lists := split(row)
		text := w.encoded(api.WithLists(row), indent)
		for _, l := range lists {
			text = w.list(text, l)
		}
		_, _ = w.out.Write(text)
	}
	if len(rows) > 0 {
		w.text("\n  ")
	}
}

// list writes a row's text up to the end of an empty list, with the sources that belong there, and
// returns what follows. A line's end is never part of a string in JSON.
func (w *auditWriter) list(text []byte, l sourceList) []byte {
	name := []byte("\"" + l.name + "\": [")
	for at := 0; ; {
		n := bytes.Index(text[at:], name)
		if n < 0 {
			return text
		}
		n += at
		at = n + len(name)
		line := bytes.LastIndexByte(text[:n], '\n')
		if line < 0 || len(bytes.Trim(text[line+1:n], " ")) > 0 {
			continue // in a string
		}
		_, _ = w.out.Write(text[:at])
		indent := text[line:n]
		separator := append(append([]byte{','}, indent...), "  \""...)
		var item []byte
		first := 1 // without the comma
		for p := range l.set.All() {
			item = append(p.AppendTo(append(item[:0], separator...)), '"')
			if _, err := w.out.Write(item[first:]); err != nil {
				return nil
			}
			first = 0
		}
		if l.set.Len() > 0 {
			_, _ = w.out.Write(indent)
		}
		return text[at:]
	}
}
