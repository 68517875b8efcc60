package main

import (
	"strings"
	"unicode/utf8"
)

// column is a column of a table that fits the screen.
type column struct {
	title string
	// min is the width in characters down to which the column may shrink; its cells wrap then. 0 is
	// for columns that never shrink.
	min int
}

// cell is a cell of such a table. Its lines begin anew where text has a newline.
type cell struct{ text, colour string }

// columnGap is between columns.
const columnGap = 2

// fitted prints rows in columns that fit the screen: where they are too wide, the widest that may
// shrink does, and its cells wrap between words.
func (s *screen) fitted(columns []column, rows [][]cell) {
	s.fittedIn(columns, rows, max(s.columns, minColumns))
}

// listed prints rows in columns that fit a terminal. Elsewhere each row is one line, as programs
// read it.
func (s *screen) listed(columns []column, rows [][]cell) { s.fittedIn(columns, rows, s.columns) }

// fittedIn prints rows in columns that fit into room; 0 is any.
func (s *screen) fittedIn(columns []column, rows [][]cell, room int) {
	head := make([]cell, len(columns))
	for i, c := range columns {
		head[i] = cell{text: c.title}
	}
	widths := fit(columns, append([][]cell{head}, rows...), room)
	s.fittedRow(widths, head)
	for _, row := range rows {
		s.fittedRow(widths, row)
	}
}

// table prints rows in columns that fit a terminal: each may shrink to its longest word.
func (s *screen) table(rows [][]string) {
	var columns []column
	cells := make([][]cell, len(rows))
	for n, row := range rows {
		for i, text := range row {
			if i == len(columns) {
				columns = append(columns, column{})
			}
			for word := range strings.FieldsSeq(text) {
				columns[i].min = max(columns[i].min, utf8.RuneCountInString(word))
			}
			cells[n] = append(cells[n], cell{text: text})
		}
	}
	widths := fit(columns, cells, s.columns)
	for _, row := range cells {
		s.fittedRow(widths, row)
	}
}

// fit is the width of each column, so that all fit into room; 0 is any.
func fit(columns []column, rows [][]cell, room int) []int {
	widths := make([]int, len(columns))
	for _, row := range rows {
		for i, c := range row {
			for line := range strings.SplitSeq(c.text, "\n") {
				widths[i] = max(widths[i], utf8.RuneCountInString(line))
			}
		}
	}
	over := columnGap*(len(columns)-1) - room
	for _, w := range widths {
		over += w
	}
	for ; room > 0 && over > 0; over-- {
		widest := -1
		for i, c := range columns {
			if c.min > 0 && widths[i] > c.min && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break // then lines are longer
		}
		widths[widest]--
	}
	return widths
}

func (s *screen) fittedRow(widths []int, row []cell) {
	lines := make([][]string, len(row))
	height := 1
	for i, c := range row {
		lines[i] = cellLines(c.text, widths[i])
		height = max(height, len(lines[i]))
	}
	for n := range height {
		var b strings.Builder
		at, want := 0, 0
		for i, c := range row {
			text := ""
			if n < len(lines[i]) {
				text = lines[i][n]
			}
			if text != "" {
				b.WriteString(strings.Repeat(" ", want-at))
				b.WriteString(s.paint(c.colour, text))
				at = want + utf8.RuneCountInString(text)
			}
			want += widths[i] + columnGap
		}
		s.printf("%s\n", b.String())
	}
}

// cellLines breaks text between words into lines of some characters. A longer word is cut.
func cellLines(text string, width int) (lines []string) {
	for part := range strings.SplitSeq(text, "\n") {
		line, at := "", 0
		for word := range strings.FieldsSeq(part) {
			n := utf8.RuneCountInString(word)
			if at > 0 && at+1+n > width {
				lines = append(lines, line)
				line, at = "", 0
			}
			if at > 0 {
				line += " "
				at++
			}
			for ; n > width; n -= width {
				runes := []rune(word)
				lines = append(lines, string(runes[:width]))
				word = string(runes[width:])
			}
			line += word
			at += n
		}
		lines = append(lines, line)
	}
	return lines
}
