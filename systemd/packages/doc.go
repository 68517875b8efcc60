// Package packages is what becomes the packages for Debian and Red Hat: build.sh makes them with nfpm, nfpm.yaml says what is in them, deb and rpm are
// the scripts that run when they are installed, upgraded and removed. The tests build them as "make packages" does, twice, and let real dpkg and rpm lead one
// through its life on a copy of this machine, in memory, with a network of its own.
//
// Two rules hold for the scripts. Rules never vanish by themselves: an upgrade restarts the daemon while the kernel keeps them, and removal leaves them until
// somebody asks. And what was built into an image touches no rule of the host that builds it.
//
// There is no code in here.
package packages
