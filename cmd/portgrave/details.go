package main

// portForms says how ports are written on the command line.
const portForms = "PORT may be 22, 22/tcp, udp/53, 80,443, 8000-8010, a service of the policy, " +
	"or a name from /etc/services. Names are those of the policy that --config names; without it, " +
	"of " +
	"the policy in force; before the first apply, of the policy on disk."

// details say of verbs what their flags don't, for the help of the verb and the manual.
var details = map[string]string{
	"init": "It writes /etc/portgrave/policy.yaml, or what --config names; with - it prints the policy. " +
		"The SSH server is open to the clients of the sessions that are open now, and to --from. What " +
		"else listens stands there as comments: remove the # of a service, say in allow who may reach " +
		"it, and look at portgrave plan. Ports that no service lists stay as they are. Nothing is put " +
		"in force. It never replaces a policy without --force. Where another firewall is in force, " +
		"portgrave import makes a policy of its rules instead.",
	"check": "Each FILE is a policy by itself: a file, a folder as --config takes it, or - for " +
		"standard input. Without FILE it reads the policy that --config names, or else the host's. " +
		"It reports every mistake of every file at once. It needs no privileges and changes no rule. " +
		"It only warns of a file that others than root may write; plan, apply and the daemon refuse " +
		"it.\n\nIt warns of what a policy hardly means, such as an empty allow, a network that no " +
		"service uses, or a database that is open to everyone; man portgrave lists all warnings. With " +
		"--strict they end it with 2. What depends on this host, such as missing interfaces and the " +
		"mode of files, doesn't count where a FILE is named, since that may be for another host.\n\n" +
		"For CI, -o junit has a test suite for each policy, and -o sarif what code scanning shows " +
		"beside the lines. Standard output is a complete report then also if a policy is not valid " +
		"(exit 3); standard error says the same to people. Run it in the root of the repository, as " +
		"reports name files from the current folder.",
	"plan": "The first line says how many services change. Each service that changes has a line: + " +
		"is new, - is removed, ~ is changed. Networks have the names that the policy gives them. " +
		"\"3 sources of office\" means that the content of office changes. If the text of the " +
		"policy in force is lost, prefixes stand in place of names. Lines with ! are about rules " +
		"that others have changed in the kernel: apply undoes that, whatever the policy says. " +
		"Leases stay, and are listed. The kernel's rules and sets are shown with --rules, at most 12 " +
		"for each service; --all shows all of them, and lists the sources of each network, up to " +
		"100 000 prefixes. In JSON, services holds what changes for each service, restores what apply " +
		"undoes, and changes the kernel's objects; sources is empty where there are more than 64, " +
		"and count says how many. --out keeps the plan for apply --plan. It changes nothing.\n\n" +
		"At the end it says who gains and who loses access to each port that a program listens on " +
		"or that is published: the whole host is evaluated as audit does, once as it is and once " +
		"with the new rules in place of the old. \"May gain\" and \"may lose\" depend on a rule " +
		"that can't be decided in advance. \"Opened, but ufw still refuses it\" names the program " +
		"whose rules, or the rule that, stops what the policy opens. The connections are those that " +
		"run now and that apply would end. If the host can't be read, the plan is complete and says " +
		"why the effect isn't known. --no-effect leaves it out. In JSON, effect lists each port with " +
		"gains, loses, may_gain, may_lose, connections, blocked_by and blocked; effect_unknown says " +
		"what isn't known.",
	"apply": "It reads the kernel, writes the difference, and reads back. A second run writes " +
		"nothing. With --dry-run it says what it would do, or why it would refuse. It prints which " +
		"services changed; --rules also shows the rules and sets. With " +
		"--plan it does what that plan says, or fails and changes nothing if the policy, a network, " +
		"the generation in force or the rules in the kernel have changed since. It refuses a policy " +
		"that would lock out an SSH session that is open now, that " +
		"fails its own tests, or that would replace a table or chains with our names that somebody " +
		"else wrote; --force applies it all the same. While a program still writes a file of the " +
		"policy, it waits, for up to 15 seconds; after that a list keeps its last good content, and " +
		"a policy is refused. With --force it also takes a list that has lost more entries than " +
		"max_shrink allows. It warns of files of saved rules, such as /etc/iptables/rules.v4, that " +
		"can't be loaded at boot because they contain portgrave's rules.",
	"confirm": "Until you confirm, two processes that outlive your session wait to take the " +
		"generation back. So does the daemon and, where systemd runs the host, a timer that root's " +
		"apply leaves. Later commands take back what is overdue, too. Setting the clock doesn't " +
		"change how much time is left. A reboot ends the trial. Once the time is over, confirm fails.",
	"rollback": "It is recorded as a new generation. It uses the backend of the generation that it " +
		"returns to, unless --backend names another one.",
	"drift": "It names the process that changed the rules if that is known.",
	"log": "Without --follow it prints the last reports that the daemon remembers. With --follow it prints " +
		"them as they come: from the daemon, or, where none runs, from the kernel, which takes root. " +
		"Packets of one source to one port are one line at first, and then one for each ten seconds; " +
		"a flood is one line with a number. Services that say log: none are not reported, and those " +
		"that say log: all also report whom they let in. What happened to the rules is in portgrave " +
		"drift --log.",
	"open": "The kernel ends the lease. It survives a reboot, and still ends on time. It can't be " +
		"longer than the policy's daemon.max_lease. It opens a port that a service lists to sources " +
		"that the service doesn't allow.\n\n" + portForms + " SOURCE may be a network of the policy: " +
		"the lease lets in what the network holds now.",
	"leases": "With PORT it lists those that open that port. " + portForms,
	"close": "If you name ports, or a service, the leases that open some of them and no " +
		"others end. One that also opens other ports stays, and is named. " + portForms,
	"audit": "Findings come first, the gravest at the top: critical is reachable against the " +
		"policy; a warning is a service or a promise of the policy that fails, or what can't be " +
		"decided; with a note nobody gets in who shouldn't. It exits with 2 on critical findings and " +
		"warnings; notes " +
		"count with --fail-on note. What the policy accepts (accept:) is shown as accepted and " +
		"doesn't count, until its time is over. Sources have the names of the policy's networks " +
		"where these fit exactly. The policy's own rates are ok, at most so many of each source; " +
		"another program's rate is rate-limited. JSON says by severity, accepted, from and rate " +
		"what the screen says, and by host, at, version, kernel, generation and applied_by what " +
		"it is evidence of.\n\nIt reads every rule on the host, whichever program wrote it, " +
		"and interfaces, addresses, routes " +
		"and listening sockets. It sends the set of all sources through the kernel's hooks. Some " +
		"rules depend on what can't be known in advance, so there are two answers: sources that " +
		"certainly get in, and those that possibly do. A port that is open to different sources at " +
		"some of the host's addresses has a row for each.\n\nIf output rules, routes or rp_filter " +
		"lose the answers to a source, it doesn't reach a port of tcp or sctp. A port of another " +
		"protocol it still possibly reaches, since its packets get in; what loses the answers is " +
		"named. Where a rule looks at what a sender chooses, audit says who certainly gets in with " +
		"ordinary packets: from a port in 32768-65535, with a TTL or hop limit of 33-64, 97-128 or " +
		"224-255, without extension headers, IPv4 options or data in TCP's first packet, and of at " +
		"most 1500 bytes. Over UDP, clients of DNS, SIP, RADIUS and others that may send from a port " +
		"of their own have a port in 1024-65535; of clients that may send from a lower one (DHCP, " +
		"NTP, IKE, SNMP, syslog, …), and of packets to groups, no port is assumed. " +
		"A source that gets in only with other packets, or gets answers only at " +
		"another port or out of a tunnel for all traffic, is possible.\n\n" +
		"Files of rules (--ruleset) have no sockets. There every range " +
		"of ports that the rules treat alike has a row, for packets from other machines to any " +
		"address that no rule names (*), and one for each address where the rules let in others. " +
		"What is assumed, such as that rpfilter passes, is printed. Rows are compared with the policy " +
		"that --config names, or that is in /etc/portgrave. Without one no row is judged, and " +
		"undecided is the only finding; if it can't be used, unjudged_why says why. " +
		"--ruleset - reads standard input.",
	"explain": "The first line has the verdict and the reason, the second the line of the policy or " +
		"the program and rule that decides, and then it says what to do. --path shows every rule " +
		"that the packet meets; rules that can't change the verdict, as they don't match or only " +
		"count and log, are folded there and listed in JSON. --from also takes a CIDR, or a network " +
		"that a service of the policy uses: if its addresses fare differently, each block gets its " +
		"answer, and the exit code is 0 only if all connect. In JSON, blocks has them all, and the " +
		"rest is about the first block that doesn't connect.\n\nIt says whether the packet is stopped " +
		"and by whom, whether the service is bound to " +
		"another address, whether nothing listens, or whether the answer is lost on its way back " +
		"(reply-lost): in output or postrouting, because there is no route, because a route refuses " +
		"or leads into a tunnel, or by rp_filter. Where packets are spread over several targets, it " +
		"looks at each; if one of them refuses, connects is false in JSON, and targets says which. " +
		"Without --interface the packet comes by the interface through which the host would answer. " +
		"A packet from behind a router to an address of another interface comes by that interface. " +
		"If no route leads to the client, interface and address are guessed and listed as assumed. " +
		"What happens to answers beyond this host isn't known. Where a rule looks at what a sender " +
		"chooses (TTL, length, extension headers, source port), allow is about ordinary packets, as " +
		"certain is for audit, and assumed says which. The exit code is 0 only if the connection " +
		"comes about.",
	"import": "It asks about every port, protocol, interface and address that the rules of this " +
		"host treat differently, whichever program wrote them. Apply the policy and stop the old " +
		"firewall, and packets are let in as before. Where most ports are closed to the public, the " +
		"policy says unlisted: deny. Rates become rates of each source. Some rules depend on what " +
		"can't be known (mac, time, string, knocking, source port, number of connections). Whom " +
		"only such a rule lets in is left out, and a comment and a warning name the rule; " +
		"--include-unknown takes them in. If that leaves nobody for a listener, the first warning " +
		"says so, as it names SSH sessions that the policy would cut. Leases, and what expires by " +
		"itself, are comments: apply keeps leases. Ports that are open though nobody listens are " +
		"comments. " +
		"Long lists get the names of the rules' sets. With --folder, lists of more than 64 entries " +
		"are files beside the policy. It doesn't touch a folder that has a policy.yaml.",
	"show": "Each service has a line: its ports, who may reach it, and its settings. Networks have the " +
		"names that the policy of the generation gives them; leases that ran then are named as such. " +
		"portgrave plan --from 3 --to 4 compares two generations.",
	"status": "FROM is who may reach a service, as the policy in force writes it, with leases and " +
		"their ends. REFUSED and ALLOWED are packets since the rules were made, and how many a " +
		"minute since an earlier look: the kernel doesn't say when it began to count. USED is how " +
		"long ago a packet was last allowed, at most; it is left out where that is unknown. The " +
		"daemon looks every ten minutes. With a service, it tells up to 64 entries of each list, and " +
		"how many there are (fewer where the policy has more than 128 services), and the file and " +
		"line of each key of the policy in force.",
	"teardown": "On a terminal it asks first. It looks through both backends. The state " +
		"directory stays. Until the next apply neither a boot nor the daemon enforces anything, and " +
		"status says so.",
	"daemon": "It owns the nftables table, so that nobody else can change it, where the kernel can " +
		"do that and the host's nft can print such a table. Elsewhere it repairs changes at once. A " +
		"repair needs neither the disk nor a free descriptor. If a program keeps deleting the rules, " +
		"repairs use a tenth of one processor. Meanwhile a small table refuses the listed ports to " +
		"all but sources of short lists and running SSH sessions, and status says for which part of " +
		"the time rules were missing. It follows the files, URLs and names of networks. An edited " +
		"policy waits for apply or reload, unless the policy in force says daemon: {follow: all}. " +
		"SIGHUP makes it read the policy again and put it in force. SIGTERM ends it, and the rules " +
		"stay.",
	"boot": "portgrave-boot.service runs it before there is a network. If the last confirmed " +
		"generation can't be read, it compiles the policy with what is on the host. If that fails, " +
		"too, it closes the ports that the policy lists, or leaves them open if the policy says " +
		"boot: open. After a teardown it enforces nothing. portgrave status says what it did and " +
		"why, and names files of saved rules that can't be loaded because they contain portgrave's " +
		"rules.",
	"install": "It puts the program into /usr/local/bin and the units into /etc/systemd/system, " +
		"makes the user portgrave, and writes the default policy if there is none. A second run " +
		"changes nothing. It neither makes nor removes rules in the kernel; the units that --now " +
		"starts do.",
	"reload": "The policy is in force afterwards, as if it had been applied. It fails after a " +
		"teardown, and if the policy can't be used; then it prints the mistakes, and the rules in " +
		"force stay. systemctl reload portgrave does the same.",
}
