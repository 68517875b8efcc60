// Package boot starts a virtual machine that has our package installed, and watches from outside,
// from before power-on until it is up, whether anybody gets in who should not. A firewall that is
// right after boot but late is wrong.
//
// The machine is Debian (package debian) with systemd as its first process and a kernel of its own,
// in qemu without KVM. Its network card is a tap device in a network namespace of the test
// (lab.Wire). In it
//
//   - early.socket listens on port 9090 as soon as systemd can open a socket, before any network;
//   - nic.service brings up the network card as soon as network-pre.target lets it, as whatever configures a network does,
//     and has nothing else to wait for;
//   - up.service says when multi-user.target is reached, and prints what portgrave reports.
//
// From outside, SYNs from sources that the policy refuses and from some that it allows come without
// pause, and everything the machine sends is noted. Not one packet may answer a refused source: no
// SYN-ACK, and no reset either, which would mean that the packet reached a host without rules. In
// the control our boot unit comes late, and that must be caught.
//
// TestKernels is about other kernels instead: it runs tests of test/e2e that need VRFs or IPVS in
// machines with Debian's kernels 6.1 and 6.12, where a test program is the first process and makes
// its own network namespaces. Not one of these tests may be skipped there.
//
// A case changes the disk from the initrd, before systemd has it; the disk's file is the same for
// all of them and is never written, but where a case is about what survives. The package needs
// root, /dev/net/tun and "make deps packages"; its tests have the build tag boot, since they take
// minutes: make test-boot runs them, and make test does. As many machines run at a time as there
// are processors (-parallel), since each keeps one busy. It never touches the machine's own
// network, and ends each qemu that it started.
package boot
