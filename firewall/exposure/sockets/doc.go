// Package sockets tells what listens on this host: every TCP, UDP and SCTP socket that takes
// packets from any sender, in every network namespace that can be found, with the processes
// behind it. It is one half of audit and explain; the rules are the other.
//
// One pass over /proc finds the network namespaces that processes and their threads live in;
// /proc/thread-self/mountinfo adds those that a mount keeps (/run/netns/NAME). Each is asked for
// its sockets over sock_diag, through a netlink socket that was opened inside it; no thread of the
// caller is moved. Only then a pass over the descriptors of all processes finds who holds which
// socket, so that no socket is too new to have an owner. It also finds the namespaces that only a
// descriptor keeps, and these are asked last. What a listener accepts is a pure function of what
// was read.
//
// What can't be read is said in the result and never left out in silence: namespaces that may not
// be entered, processes that may not be looked into, tables that changed while they were read.
// Three things can't be known from here: sockets in a namespace that only those sockets keep alive
// (their process has moved on and nothing else points there); owners that have their own table of
// descriptors apart from their process's (a thread after unshare(CLONE_FILES)); and with hidden
// processes (mount option hidepid, another PID namespace) who they are. Raw and packet sockets,
// which have no ports, are not listed.
//
// The package changes nothing: no namespace, no socket, no rule.
package sockets
