// Package boot starts a virtual machine with our package installed, and checks from outside whether
// a refused source gets an answer, from power-on until the machine is up. A firewall that is
// correct after boot but late is wrong.
//
// The machine is Debian (package debian) with systemd as its first process and a kernel of its own,
// in qemu without KVM. Its network card is a tap device in a network namespace of the test
// (lab.Wire). In the machine
//
//   - early.socket listens on port 9090 as soon as systemd can open a socket, before any network;
//   - nic.service brings up the network card as soon as network-pre.target lets it, like any
//     network configuration, and waits for nothing else;
//   - up.service reports when multi-user.target is reached, and prints portgrave's own report.
//
// Outside, SYNs from refused and from allowed sources are sent continuously, and every packet from
// the machine is recorded. No packet may answer a refused source: neither a SYN-ACK nor a reset,
// which would mean that the packet reached a host without rules. In the control, our boot unit
// comes late, and the test must notice.
//
// TestKernels uses other kernels instead. It runs tests of test/e2e that need VRFs or IPVS in
// machines with Debian's kernels 6.1 and 6.12. There a test program is the first process and makes
// its own network namespaces. None of these tests may be skipped there.
//
// A case changes the disk from the initrd, before systemd starts. All cases share the disk's file
// and never write it, except a case about what survives a reboot. The package needs root,
// /dev/net/tun and "make deps packages". Its tests take minutes, so they have the build tag boot;
// make vm runs all of them, make test a sample. Each machine keeps a processor busy, so at most
// that many run at a time (-parallel). The package never touches the machine's own network, and
// ends each qemu that it started.
package boot
