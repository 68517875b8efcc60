// Package packages contains the packages for Debian and Red Hat, and no code: build.sh makes them
// with nfpm, nfpm.yaml lists their content, and deb and rpm hold the scripts that run when they are
// installed, upgraded and removed. The tests build the packages twice, as "make packages" does.
// They have real dpkg and rpm install, upgrade and remove one on a copy of this machine, in memory,
// with a network of its own.
//
// The scripts follow two rules. Rules never vanish unasked: an upgrade restarts the daemon while
// the kernel keeps the rules, and removal leaves them in the kernel. And installing into an image
// touches no rule of the host that builds it.
package packages
