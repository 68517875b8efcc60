// Package iptsave reads and writes the text of the iptables and ipset programs: what iptables-save
// and ipset save print, and what iptables-restore and ipset restore read.
//
//	text ─▶ Read ────▶ Line ─▶ Words ─▶ ParseRule ─▶ Rule{Header, Matches, Target}
//	text ─▶ ReadSets ─▶ SetLine
//	        Script ─▶ text
//
// Read and ReadSets pass one line after the other to their caller and keep none of them. They know
// the form of the text: quotes, counters, comments, which table a line is in, which options belong
// to which match. What a match means is up to package exposure/xtables, and which rules are
// Portgrave's to package xt. An error is an *Error and says where in the text it is.
//
// No document describes the quoting. It follows the programs' sources: xtables_save_string in
// libxtables writes it, add_param_to_argv in iptables/xshared.c reads it. A word with spaces or
// quotes stands in double quotes, inside which a backslash makes the next character literal.
//
// The package runs no program. Of the kernel it only reads which legacy tables are loaded.
package iptsave

import "fmt"

// Error is what is wrong at a place in a text.
type Error struct {
	Line   int // from 1; 0 where only one line was read
	Column int // from 1, in bytes, without the spaces that the line begins with
	Err    error
}

// Error is the cause alone: each caller has its own way to name a place.
func (e *Error) Error() string { return e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// errorAt is an error at a column of the line that is being read.
func errorAt(column int, format string, args ...any) error {
	return &Error{Column: column, Err: fmt.Errorf(format, args...)}
}

// inLine adds the line's number to an error, and moves its column by an offset.
func inLine(err error, number, offset int) error {
	if at, ok := err.(*Error); ok {
		return &Error{number, at.Column + offset, at.Err}
	}
	return &Error{number, 1, err}
}
