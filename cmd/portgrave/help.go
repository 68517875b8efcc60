package main

import (
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// How wide the help is, in columns: as wide as the terminal, within bounds.
const (
	minHelpWidth = 80
	maxHelpWidth = 100
)

// Flags begin at flagColumn, and what they do stands from flagTextColumn on.
const (
	flagColumn     = 3
	flagTextColumn = 26
)

// Package cli has one printer of help for the whole program, and doesn't break its lines.
func init() {
	printer := cli.HelpPrinterCustom
	print := func(out io.Writer, template string, data any, functions map[string]any) {
		all := map[string]any{}
		for name, f := range functions {
			all[name] = f
		}
		width := helpWidth()
		all["wrap"] = func(text string, column int) string { return wrapHelp(text, column, width) }
		all["examples"] = func(verb string) []string { return helpExamples[verb] }
		printer(out, template, data, all)
	}
	cli.HelpPrinterCustom = print
	cli.HelpPrinter = func(out io.Writer, template string, data any) {
		print(out, template, data, nil)
	}
}

func helpWidth() int {
	size, err := unix.IoctlGetWinsize(int(os.Stdout.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return minHelpWidth
	}
	return min(max(int(size.Col), minHelpWidth), maxHelpWidth)
}

// wrapHelp breaks text that begins at a column into lines. A flag has a tab before what it does,
// which stands beside it, or below it if it is long.
func wrapHelp(text string, column, width int) string {
	if flag, does, ok := strings.Cut(text, "\t"); ok {
		gap := flagTextColumn - flagColumn - utf8.RuneCountInString(flag)
		between := strings.Repeat(" ", max(gap, 0))
		if gap < 2 {
			between = "\n" + strings.Repeat(" ", flagTextColumn)
		}
		return flag + between + wrapHelp(does, flagTextColumn, width)
	}
	var lines []string
	for paragraph := range strings.SplitSeq(text, "\n") {
		line := ""
		for word := range strings.FieldsSeq(paragraph) {
			if line != "" && column+utf8.RuneCountInString(line+" "+word) > width {
				lines, line = append(lines, line), ""
			}
			line = strings.TrimPrefix(line+" "+word, " ")
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n"+strings.Repeat(" ", column))
}
