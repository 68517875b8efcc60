#!/bin/sh
# build.sh DIR makes a Debian system out of packages, for tests that need one from its first process on. Nothing of it is
# installed on this machine and nothing starts. DIR then holds
#
#	root.tar  the root file system: systemd, udev, dbus, nftables, iptables, ipset, ipvsadm, iproute2, procps; no network configured
#	kernels/  kernels for virtual machines, one folder a series (6.1, 6.12), unpacked: vmlinuz and lib/modules, with modules.dep
#	kernel    a link to the newest of them
#	busybox   a static one, for an initrd
#	packages  what is in it, with versions
#	recipe    the checksum of this file. Make builds again when it differs.
#
# The release is the one that this machine's apt serves if that is Debian, and bookworm otherwise.
set -eu
fail() {
	echo "test/debian/build.sh: $*" >&2
	exit 1
}
[ $# = 1 ] || fail "which folder? build.sh DIR"
dir=$(realpath -m "$1")
self=$(realpath "$0")
new=$dir.new
[ "$(id -u)" = 0 ] || fail "not root: a root file system's files have owners"
[ "$(dpkg --print-architecture)" = amd64 ] || fail "this machine is $(dpkg --print-architecture); only amd64 is known here"
keys=
for f in /usr/share/keyrings/debian-archive-keyring.pgp /usr/share/keyrings/debian-archive-keyring.gpg; do
	[ ! -e "$f" ] || keys=$f
done
[ -n "$keys" ] || fail "Debian's signing keys are missing: apt-get install debian-archive-keyring (on Ubuntu it is in universe)"
rm -rf "$new"
mkdir -p "$new/kernels" "$new/one"

# Where this machine gets Debian from, mirror and updates included.
apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' 'Component: main' |
	sort -u | sed "s|^|deb [signed-by=$keys] |" >"$new/sources"
if [ ! -s "$new/sources" ]; then
	for where in "debian bookworm" "debian bookworm-updates" "debian-security bookworm-security"; do
		echo "deb [signed-by=$keys] http://deb.debian.org/$where main"
	done >"$new/sources"
fi
# Both series of kernels are bookworm's. Whatever else is newer there comes from the other sources.
grep -q bookworm "$new/sources" ||
	for where in "debian bookworm" "debian-security bookworm-security"; do
		echo "deb [signed-by=$keys] http://deb.debian.org/$where main"
	done >>"$new/sources"
apt-config dump | grep -E '^Acquire::https?::Proxy ' >"$new/proxy" || true

# The kernels are found and downloaded by the apt that builds the root, since this machine's may not know Debian. Of each
# series the newest with a full version in its name: the others are names for "whatever is current".
cat >"$new/download" <<'HOOK'
set -eu
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
cd "$NEW/one"
apt-get -q -y -o APT::Sandbox::User=root download busybox-static
dpkg-query --admindir="$1/var/lib/dpkg" -W >"$NEW/packages"
dpkg-deb -x busybox-static_*.deb .
# Debian 13 has no /bin and no /lib beside /usr any more.
for f in bin/busybox usr/bin/busybox; do [ ! -e "$f" ] || mv "$f" "$NEW/busybox"; done
for series in 6.1 6.12; do
	image=$(apt-cache search --names-only "^linux-image-$series[.][0-9].*-cloud-amd64\$" | cut -d' ' -f1 | sort -V | tail -1)
	[ -n "$image" ] || { echo "test/debian/build.sh: no linux-image-$series.*-cloud-amd64 is to be had" >&2; exit 1; }
	apt-get -q -y -o APT::Sandbox::User=root download "$image"
	mkdir -p "unpacked/$series" "$NEW/kernels/$series/lib"
	dpkg-deb -x "$image"_*.deb "unpacked/$series"
	mv "unpacked/$series"/boot/vmlinuz-* "$NEW/kernels/$series/vmlinuz"
	for d in lib/modules usr/lib/modules; do [ ! -e "unpacked/$series/$d" ] || mv "unpacked/$series/$d" "$1/usr/lib/modules"; done
	chroot "$1" depmod "$(ls "$1/usr/lib/modules")"
	mv "$1/usr/lib/modules" "$NEW/kernels/$series/lib/modules"
	ln -sfn "kernels/$series" "$NEW/kernel"
done
for deb in *.deb; do dpkg-deb -W "$deb" >>"$NEW/packages"; done
HOOK

# Documentation and translations are left out: they are half of it. A fixed machine-id, or systemd takes every boot for the
# first one, and enables each unit that it finds; mmdebstrap would empty it for the sake of reproducibility.
export NEW="$new" DEBIAN_FRONTEND=noninteractive
mmdebstrap --quiet --mode=root --skip=cleanup/reproducible --architectures=amd64 --variant=minbase --aptopt="$new/proxy" \
	--include=systemd,systemd-sysv,udev,kmod,iproute2,nftables,iptables,ipset,ipvsadm,dbus,procps \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
	--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
	--customize-hook='rm -f "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap" "$1/etc/apt/apt.conf.d/99mmdebstrap"' \
	--customize-hook='echo 706f72746772617665746573746d6163 >"$1/etc/machine-id"' \
	--customize-hook='echo machine >"$1/etc/hostname"' \
	--customize-hook='passwd --quiet --root "$1" --delete root' \
	--customize-hook="sh $new/download \"\$1\"" \
	"" "$new/root.tar" - <"$new/sources" || fail "mmdebstrap failed; the sources were: $(cat "$new/sources")"

rm -rf "$new/one" "$new/download" "$new/sources" "$new/proxy"
sha256sum <"$self" >"$new/recipe"
rm -rf "$dir"
mv "$new" "$dir"
