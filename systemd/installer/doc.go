// Package installer puts portgrave in place on a host that has no package of it: the program, units, user, folders and a first policy; and takes
// them away again.
//
// Files says what belongs on a host, Compare what is there instead, Plan what is to be done about it: a pure function, shown by
// --dry-run and carried out by Run, which alone touches anything. Below another root (an image) the same files are put, and units
// are enabled by their links, but no program is run.
//
// Installing twice changes nothing. A policy that is there is never replaced. Removing takes away what installing put, and only as it put
// it: a policy or unit that was changed since stays, and is named. It never touches rules in the kernel.
package installer
