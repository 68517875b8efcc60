// Package policy is the language that the administrator writes: which ports may open to which networks.
//
// Read takes a policy file, or a folder of policy.yaml and policy.d/*.yaml, and reports every
// mistake of every file at once, as file:line:column: what is wrong and what to write instead.
// Compile turns what was read into a firewall.State, loading the networks that live
// in files, behind URLs or in the DNS.
//
//	bytes ─parse─▶ node ─check against the language─▶ decode ─cross-check─▶ Policy ─Compile─▶ firewall.State
//
// The language stands in one table (language.go): the reader checks documents against it and
// Schema prints it as JSON Schema, so the two accept the same.
//
// Two rules hold throughout. Nothing fails open: a network that can't be loaded keeps its last
// good content or stops the compilation; it never becomes empty or everyone. And nothing here
// touches the kernel's rules; files, HTTP, DNS and the clock are all that this package uses, and they are handed in.
package policy
