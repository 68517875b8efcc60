# deb.sh BACKEND installs, upgrades, removes and purges the .deb with real dpkg, also in an image.
backend=$1
. /debs/common.sh
say() { dpkg --force-unsafe-io "$@" >/run/said 2>&1 || { cat /run/said >&2; fail "dpkg $*"; }; }

# In an image nothing is started, and the rules of the building host stay untouched.
must portgrave-unpacked --backend "$backend" apply --reason 'the host that builds images' >/dev/null
before=$(rules)
say -i /debs/first.deb
must test -L /etc/systemd/system/sysinit.target.wants/portgrave-boot.service
must test -L /etc/systemd/system/multi-user.target.wants/portgrave.service
must test -L /etc/systemd/system/timers.target.wants/portgrave-audit.timer
must getent passwd portgrave >/dev/null
must test "$(stat -c %a:%U:%G /etc/portgrave)" = 750:root:portgrave
must test "$(stat -c %a:%U:%G /var/lib/portgrave)" = 750:portgrave:portgrave
mustnot grep -qE '(start|restart) ' /run/asked
mustnot grep -q 'In force' /run/said
say --purge portgrave
mustnot test -e /var/lib/portgrave-teardown
mustnot test -e /etc/systemd/system/multi-user.target.wants/portgrave.service
must test "$(rules)" = "$before"
must portgrave-unpacked teardown >/dev/null
mustnot inforce
echo "image: enabled, nothing started, the host's rules untouched"

# On a running host it is in force after the installation.
mkdir -p /run/systemd/system
say -i /debs/first.deb
must grep -q 'start portgrave.service' /run/asked
must test -S /run/portgrave/control.sock
announced
must portgrave --backend "$backend" apply --reason 'the administrator' >/dev/null
[ "$backend" != iptables ] || must systemctl restart portgrave.service # it ends when the rules move, to be started again
must inforce
must portgrave --backend "$backend" plan >/dev/null
must test "$(stat -c %U /proc/"$(cat /run/active.portgrave.service)")" = portgrave
echo "installed: the daemon runs as $(stat -c %U /proc/"$(cat /run/active.portgrave.service)"), rules in force"

# An upgrade restarts it. The witness proves that no rule is removed meanwhile.
echo '# mine' >>/etc/portgrave/policy.yaml
sed -i 's/^services:/services:\n  - {name: mine, port: 9191, allow: [private]}/' /etc/portgrave/policy.yaml
must portgrave --backend "$backend" apply >/dev/null
must inforce 9191
witness
generation=$(portgrave status -o json | grep -o '"generation": [0-9]*' | head -n 1)
old=$(cat /run/active.portgrave.service)
say -i /debs/second.deb
new=$(cat /run/active.portgrave.service)
must test "$old" != "$new"
must kill -0 "$new"
mustnot kill -0 "$old" 2>/dev/null
must grep -q 'v1.2.4-test' <(portgrave --version)
must test "$(vanished)" = 0
must inforce 9191
must portgrave --backend "$backend" plan >/dev/null
must test "$(portgrave status -o json | grep -o '"generation": [0-9]*' | head -n 1)" = "$generation"
must tail -n 1 /etc/portgrave/policy.yaml | grep -q '# mine'
mustnot grep -q 'In force' /run/said
echo "upgraded: process $old became $new, 0 objects vanished, the policy is the administrator's"

# A unit that the administrator has disabled stays disabled.
systemctl disable portgrave-audit.timer
say -i /debs/second.deb
mustnot test -e /etc/systemd/system/timers.target.wants/portgrave-audit.timer

# Removal leaves the rules and says how to remove them.
before=$(rules)
say -r portgrave
mustnot test -e /usr/bin/portgrave
mustnot kill -0 "$new" 2>/dev/null
must grep -q 'sudo /var/lib/portgrave-teardown/portgrave teardown' /run/said
must test "$(stat -c %U:%a /var/lib/portgrave-teardown)" = root:755
must test "$(vanished)" = 0
must inforce 9191
echo "removed: 0 objects vanished; $(grep -c . /run/said) lines said, among them: $(grep -o 'the rules stay in force[^.]*' /run/said)"

# Another installation continues with the kept state, and what prerm kept is gone.
say -i /debs/first.deb
mustnot test -e /var/lib/portgrave-teardown
must test -S /run/portgrave/control.sock
must test "$(vanished)" = 0
say -r portgrave

# After a purge nothing is left. The control: the witness notices the removed rules.
say --purge portgrave
mustnot inforce 9191
mustnot inforce
for left in /var/lib/portgrave /var/lib/portgrave-teardown /etc/portgrave /run/portgrave; do mustnot test -e "$left"; done
mustnot test -e /etc/systemd/system/multi-user.target.wants/portgrave.service
seen=$(vanished)
must test "$seen" -gt 0
echo "purged: the witness saw $seen objects go, nothing is left"

# The command that the installation prints undoes it.
say -i /debs/first.deb
announced
backend=nftables
must inforce
undo
mustnot inforce
mustnot test -e /etc/systemd/system/multi-user.target.wants/portgrave.service
echo "undone: $(cat /run/undo)"
