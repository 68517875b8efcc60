// Package manual writes the manual pages portgrave(8) and portgrave-policy(5), and completes
// command lines for bash, zsh and fish. Nothing in it is known twice: the command line is read from
// the cli.App that parses it, the policy language from its JSON Schema.
//
// The placeholder of a flag or argument, written in backquotes in its usage or between brackets,
// says what completes it:
//
//	`FILE`, `DIR`, `FOLDER`   file names, folders
//	`N`                       the number of a generation
//	`LEASE`, `INTERFACE`      an open lease, an interface of the host
//	`PORT`, `SOURCE`          a service or a network of the policy
//	`text|json`               one of these words
//	anything else             nothing
//
// Generations, leases, interfaces and names are asked of the program itself when they are wanted
// (Complete). The package is pure: it takes descriptions and returns text. It knows no verb, no
// file and no clock; the date of a page is handed in, or missing, so that two builds give the same
// bytes.
package manual
