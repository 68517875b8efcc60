# rpm.sh BACKEND installs, upgrades and removes the .rpm with real rpm. rpm doesn't know the
# packages of this machine, so it ignores dependencies.
backend=$1
. /debs/common.sh
say() { rpm --dbpath /tmp/rpm --nodeps "$@" >/run/said 2>&1 || { cat /run/said >&2; fail "rpm $*"; }; }

# In an image nothing is started.
say -i /debs/first.rpm
must test -L /etc/systemd/system/multi-user.target.wants/portgrave.service
must test "$(stat -c %a:%U:%G /var/lib/portgrave)" = 750:portgrave:portgrave
mustnot grep -q '^start' /run/asked
say -e portgrave
mustnot test -e /var/lib/portgrave-teardown
mustnot test -e /etc/systemd/system/multi-user.target.wants/portgrave.service
echo "image: enabled, nothing started"

mkdir -p /run/systemd/system
say -i /debs/first.rpm
must test -S /run/portgrave/control.sock
announced
sed -i 's/^services:/services:\n  - {name: mine, port: 9191, allow: [private]}/' /etc/portgrave/policy.yaml
must portgrave apply >/dev/null
must inforce 9191
must test "$(stat -c %U /proc/"$(cat /run/active.portgrave.service)")" = portgrave
witness
old=$(cat /run/active.portgrave.service)
say -U /debs/second.rpm
new=$(cat /run/active.portgrave.service)
must test "$old" != "$new"
must kill -0 "$new"
mustnot grep -q 'In force' /run/said
must test "$(vanished)" = 0
must inforce 9191
must portgrave plan >/dev/null
must grep -q 'v1.2.4-test' <(portgrave --version)
echo "upgraded: process $old became $new, 0 objects vanished, the policy is the administrator's"

say -e portgrave
mustnot test -e /usr/bin/portgrave
mustnot kill -0 "$new" 2>/dev/null
must grep -q 'sudo /var/lib/portgrave-teardown/portgrave teardown' /run/said
must test "$(vanished)" = 0
must inforce 9191
must /var/lib/portgrave-teardown/portgrave teardown >/dev/null
mustnot inforce
must test "$(vanished)" -gt 0
echo "removed: rules stay until teardown is asked for, then they are gone"
