# machine.sh SCRATCH DEBS NETNS SCRIPT ARGUMENT... makes a copy of this machine's files in memory,
# in which packages can be installed, with a network and processes of its own. It must not run in
# the network namespace NETNS. The script and the folder DEBS are in /debs.
set -eu
[ "$(readlink /proc/self/ns/net)" != "$3" ] || { echo "this is the machine's own network" >&2; exit 1; }
mount --make-rprivate /
mount -t tmpfs scratch "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay machine -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
cd "$1/root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --bind /dev dev
mount -t tmpfs run run
mount -t tmpfs tmp tmp
mkdir -p run/lock debs
cp "$2"/* "$4" debs
mv usr/bin/systemctl usr/bin/systemctl.real
cp "$(dirname "$4")/systemctl" usr/bin/systemctl
rm -f usr/sbin/policy-rc.d         # as on a host that runs
rm -f var/lib/man-db/auto-update   # nobody looks for a page
ip link set lo up
script=/debs/$(basename "$4")
shift 4
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive chroot . bash "$script" "$@"
