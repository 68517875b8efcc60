# Shared functions of the scripts: they report failures, and record every change of rules.
set -u
fail() {
	echo "FAIL: $*" >&2
	echo "--- asked of systemctl:" >&2
	cat /run/asked >&2
	echo "--- journal:" >&2
	tail -n 20 /run/journal >&2
	exit 1
}
must() { "$@" || fail "$*"; }
mustnot() { ! "$@" || fail "not to be: $*"; }

# Prints our rules in a backend; nothing if there are none.
rules() {
	if [ "$backend" = iptables ]; then
		iptables-save -t mangle | grep '^-A.*PORTGRAVE'
	else
		nft list table inet portgrave 2>/dev/null | grep -v '^#'
	fi
}
inforce() { rules | grep -q "${1:-9090}"; }

# witness records every change of nf_tables in /run/changes. synced waits until all changes so far
# are recorded, by a change of its own.
witness() {
	nft monitor >/run/changes &
	for i in $(seq 100); do
		nft add table ip witness
		nft delete table ip witness
		! grep -q witness /run/changes || return 0
		sleep 0.05
	done
	fail "nft monitor says nothing"
}
marks=0
synced() {
	marks=$((marks + 1))
	nft add table ip "mark$marks"
	nft delete table ip "mark$marks"
	for i in $(seq 200); do
		! grep -q "delete table ip mark$marks" /run/changes || return 0
		sleep 0.05
	done
	fail "nft monitor has missed mark $marks"
}
# vanished counts how many of our objects were removed since the witness started.
vanished() {
	synced
	grep -ciE '^delete (table|chain|rule|set|element) .*portgrave' /run/changes
}
# The program before any package is installed, with a state of its own.
portgrave-unpacked() { PORTGRAVE_STATE_DIR=/tmp/state PORTGRAVE_RUN_DIR=/tmp/run /debs/portgrave "$@"; }
# announced checks that an installation which closes a port reports so in three lines, and that the
# command in the last line undoes it.
announced() {
	must test "$(grep -c '^portgrave: ' /run/said)" = 3
	must grep -q '^portgrave: In force: tcp/9090 is open to private networks and refused to everybody else; other ports are left alone\.$' /run/said
	must grep -q '^portgrave: To see it: sudo portgrave status; the policy is in /etc/portgrave' /run/said
	must grep -q '^portgrave: To undo it: sudo ' /run/said
}
undo() {
	sed -n 's/^portgrave: To undo it: //p' /run/said | sed 's/sudo //g' >/run/undo
	must test -s /run/undo
	must sh -e /run/undo >/dev/null
}
: >>/run/journal
: >>/run/asked
