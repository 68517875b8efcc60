#!/bin/sh
# fetch.sh DIR PACKAGE... puts Debian packages, and what they need and this machine lacks, into DIR
# without installing them: an installed ufw, firewalld or dockerd would start with the machine and take
# over its firewall. Tests lay DIR over the machine's files in a mount namespace of their own.
set -eu
dir=$(realpath -m "$1") # apt-get takes other paths as below its own folder
shift
new=$dir.new
rm -rf "$new"
mkdir -p "$new/archives/partial" "$new/root/usr"
apt-get -q -y -o Dir::Cache::archives="$new/archives" -o Debug::NoLocking=1 \
	install --download-only --no-install-recommends "$@"
# Before and after the merge of /bin, /sbin and /lib into /usr, files belong below /usr here: a folder laid over the
# machine's links would hide what is in them.
for deb in "$new"/archives/*.deb; do
	[ -e "$deb" ] || continue # all of them are installed already
	rm -rf "$new/one"
	dpkg-deb -x "$deb" "$new/one"
	for d in bin sbin lib lib64; do
		[ ! -d "$new/one/$d" ] || { mkdir -p "$new/root/usr/$d"; cp -a "$new/one/$d/." "$new/root/usr/$d/"; }
	done
	for d in usr etc; do
		[ ! -d "$new/one/$d" ] || { mkdir -p "$new/root/$d"; cp -a "$new/one/$d/." "$new/root/$d/"; }
	done
done
rm -rf "$new/one" "$new/archives"
echo "$*" >"$new/packages"
rm -rf "$dir"
mv "$new" "$dir"
