// Package policy is the language that the administrator writes: which ports may open to which
// networks.
//
// Read takes a policy file, or a folder of policy.yaml and policy.d/*.yaml. It reports every
// mistake of every file at once, as file:line:column: what is wrong and what to write instead.
// Compile turns what was read into a firewall.State and loads the networks that live in files,
// behind URLs or in the DNS.
//
//	bytes ─parse─▶ node ─check against the language─▶ decode ─cross-check─▶ Policy
//	Policy ─Compile─▶ firewall.State
//
// The language stands in one table (language.go). The reader checks documents against it and Schema
// prints it as JSON Schema, so both accept the same documents.
//
// Two rules hold throughout. First, nothing fails open: a network that can't be loaded keeps its
// last good content or stops the compilation; it never becomes empty or everyone. Second, this
// package never touches the kernel's rules. It uses files, HTTP, DNS and the clock only, and the
// caller passes them in.
package policy
