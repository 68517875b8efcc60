// Package installer installs portgrave on a host without a package of it: the program, units, user,
// folders and a first policy. It also removes them.
//
// Files lists what belongs on a host, and Install and Uninstall compare that with what is there and
// return the steps. These are pure functions; --dry-run prints the steps. Only Run touches a host.
// For another root folder (an image) it writes the same files and enables units by links, but runs
// no program.
//
// Installing twice changes nothing. An existing policy is never replaced. Removing deletes only
// what installing has written: a policy or unit that was changed since stays, and is reported. The
// package never touches rules in the kernel.
package installer
