package main

import (
	"bytes"
	"encoding/json"
	"io"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
)

// writeReport writes a report as screen.object would, but a row at a time: each may have a million
// sources, and encoding/json holds all that it writes several times over.
func writeReport(out io.Writer, r audit.Report) error {
	w := &auditWriter{out: out}
	w.text("{\n  \"exposures\": [")
	writeRows(w, r.Exposures)
	w.text("],\n  \"findings\": [")
	writeRows(w, r.Findings)
	w.text("]")
	// What remains are its members but the first two.
	r.Exposures, r.Findings = nil, nil
	rest := w.encoded(r, "")
	if _, members, more := bytes.Cut(rest, []byte("\"findings\": null,")); more {
		w.text("," + string(members) + "\n")
	} else {
		w.text("\n}\n")
	}
	return w.err
}

type auditWriter struct {
	out io.Writer
	err error
}

func (w *auditWriter) text(s string) {
	if w.err == nil {
		_, w.err = io.WriteString(w.out, s)
	}
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

func writeRows[T any](w *auditWriter, rows []T) {
	const indent = "    "
	for i, row := range rows {
		if i > 0 {
			w.text(",")
		}
		w.text("\n" + indent)
		text := w.encoded(api.WithLists(row), indent)
		if w.err == nil {
			_, w.err = w.out.Write(text)
		}
	}
	if len(rows) > 0 {
		w.text("\n  ")
	}
}
