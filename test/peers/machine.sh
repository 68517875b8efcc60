# machine.sh SCRATCH PACKAGES PARENT SCRIPT runs a script with files and processes of its own. It
# runs in new mount and process namespaces, and in the network namespace of a lab's node.
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
mount --make-rprivate /
mount -t tmpfs scratch "$1"
for d in usr etc var; do
	below=/$d
	[ ! -d "$2/root/$d" ] || below=$2/root/$d:/$d
	mkdir "$1/$d" "$1/$d.work"
	mount -t overlay peers -o "lowerdir=$below,upperdir=$1/$d,workdir=$1/$d.work" "/$d"
done
mount -t tmpfs run /run
mount -t proc proc /proc
mkdir -p /run/lock
# The kernel is shared, so scripts must not load modules. The kernel loads what rules need by
# itself.
ln -sf /usr/bin/true /usr/sbin/modprobe
export SCRATCH="$1" CGROUP="$3"
eval "$4"
