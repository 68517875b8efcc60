package main

// details say of verbs what their flags don't, for the help of the verb and the manual.
var details = map[string]string{
	"check": "Without FILE it reads the policy that --config names, or that of the host. Every mistake of every file is reported at once. It needs no privileges and " +
		"touches no rule. That others than root may write a file is a warning here; plan, apply and the daemon refuse it.",
	"plan": "It compares what the policy wants with what the kernel holds, element by element.",
	"apply": "It reads the kernel, writes the difference, and reads back; a second run writes nothing. It refuses a policy that would lock out an SSH session that is open " +
		"now, that fails its own tests, or that would replace a table or chains of our name that somebody else wrote. A file of the policy that a program is still writing " +
		"is waited for, up to 15 seconds; after that a list keeps its last good content, and a policy is refused. With --force a list counts although it has lost more of its entries than " +
		"max_shrink allows. It warns of files of saved rules, such as /etc/iptables/rules.v4, that don't load at boot because ours are in them.",
	"confirm": "Until then two processes that outlive the session wait to take the generation back; so does the daemon, and, where systemd runs the host, a timer that root's apply leaves. " +
		"Any later command takes back what is overdue, too. The time runs on a clock that nobody sets; a reboot ends it. After its end, confirm fails.",
	"rollback": "It is recorded as a new generation, and uses the backend of the generation that it goes back to, unless --backend names another one.",
	"drift":    "It names the process that changed the rules where that is known.",
	"open": "The lease is ended by the kernel, survives a reboot with its end, and is no longer than the policy's daemon.max_lease. It opens a port that a service lists, to sources that the " +
		"service doesn't allow.",
	"close": "A port ends all of its leases.",
	"audit": "It reads every rule on the host, whoever wrote it, with interfaces, addresses, routes and listening sockets, and sends the set of all sources through the kernel's hooks. What can't be known " +
		"statically makes two answers of one: certain, and possible. A port that is let in differently at some of the host's addresses has a row for each. " +
		"A source that gets no answer, because output rules, routes or rp_filter lose it, doesn't reach a port of tcp or sctp; of other " +
		"protocols it stays possible, since its packets get in, and who loses the answers is named. Where a rule reads a client's own port, that is taken for one of 32768-65535; a source that gets an answer only to another port, or out of a tunnel for all traffic, is possible. " +
		"Rules from files (--ruleset) have no sockets: every port that they tell apart has a row, for packets from other machines to any address that no rule names (*), and to each at which " +
		"they let in others. What is taken for granted, such as that rpfilter passes, is printed.",
	"explain": "It says whether the packet is stopped here and by whom, whether the service is bound elsewhere, whether nothing listens, or whether the answer is lost on its way back (reply-lost): " +
		"in output or postrouting, for want of a route, in a route that refuses or leads into a tunnel, or by rp_filter. Where packets are spread over several targets, each is looked at; one that " +
		"refuses makes connects false in JSON, and targets says which. Without --interface the packet comes by the interface through which the host would answer, or, from behind a router to an " +
		"address of another interface, by that one. What happens to answers beyond this host isn't known. The exit code is 0 only if the connection comes about.",
	"import": "It asks about every port, protocol, interface and address that the rules of this host tell apart, by any program, so that the policy can replace them: apply it " +
		"and stop the old firewall, and packets are let in as before. Where most ports are closed to the public it writes unlisted: deny. Rates become rates of each source. Where a rule depends on what can't be known (mac, time, " +
		"string, knocking, source port, number of connections), those are left out whom only such a rule lets in, with a comment that names it and a warning; --include-unknown takes them in. " +
		"Ports that are open though nobody listens are comments. Long lists have the names of the rules' sets; with --folder those above 64 entries are files beside the policy. A folder that has a policy.yaml is left alone.",
	"teardown": "Both backends are looked through. The state directory stays. Until the next apply neither a boot nor the daemon enforces anything, and status says so.",
	"daemon": "It owns the nftables table where the kernel can and the host's nft can print that, so that nobody else changes it; elsewhere it repairs changes at once. A repair needs neither the disk nor a free descriptor. " +
		"Against a program that keeps deleting the rules it uses a tenth of one processor; meanwhile a small table refuses the listed ports to all but sources of short lists and running SSH sessions, and " +
		"status says which part of the time rules were missing. It follows the files, addresses and names of networks; an " +
		"edited policy waits for apply or reload, unless the policy in force says daemon: {follow: all}. SIGHUP makes it read the policy again and put it in force; SIGTERM ends it, and the rules stay.",
	"boot": "portgrave-boot.service runs it before there is a network. If the last confirmed generation can't be read it compiles the policy with what is on the host; if that can't be done either, it " +
		"closes the ports that the policy lists, or leaves them open if the policy says boot: open. After a teardown it enforces nothing. What it did, and why, is in portgrave status. So is a file of saved rules that can't be loaded because ours are in it.",
	"install": "It puts the program in /usr/local/bin, the units in /etc/systemd/system, makes the user portgrave, and writes the default policy if there is none. A second run changes nothing. Rules in the " +
		"kernel are neither made nor removed, but by the units that --now starts.",
	"reload": "The policy is in force afterwards, as if it had been applied. It fails after a teardown, and with the mistakes of a policy that can't be used; the rules in force stay then. systemctl reload portgrave does the same.",
}
