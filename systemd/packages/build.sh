#!/usr/bin/env bash
# build.sh OUT [ARCHITECTURE...] puts portgrave's .deb and .rpm into OUT, by default for amd64 and
# arm64.
#
# The same commit gives the same bytes, wherever and whenever it is built: the binary has no paths,
# all times are the commit's, and file modes don't depend on the umask. Outside a git repository
# VERSION, PACKAGE_VERSION and SOURCE_DATE_EPOCH replace git's answers.
set -euo pipefail
umask 022
export LC_ALL=C TZ=UTC CGO_ENABLED=0
NFPM=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.0

mkdir -p "$1"
out=$(realpath "$1")
shift
[ $# -gt 0 ] || set -- amd64 arm64
cd "$(dirname "$0")/../.."

: "${VERSION:=$(git describe --tags --always --dirty)}"
if [ -z "${PACKAGE_VERSION:-}" ]; then
	# v1.2-5-gabc is 1.2+5.gabc, after 1.2; v1.2-rc1 is 1.2~rc1, before it.
	if [[ $VERSION =~ ^v?([0-9]+\.[0-9.]*[0-9])(-(.*))?$ ]]; then
		base=${BASH_REMATCH[1]} rest=${BASH_REMATCH[3]//-/.} mark=+
		[[ ! $rest =~ ^(alpha|beta|rc) ]] || mark='~'
		PACKAGE_VERSION=$base${rest:+$mark$rest}
	else # never tagged: in the order of the commits, before any version
		PACKAGE_VERSION=0.0+$(git rev-list --count HEAD).g${VERSION//-/.}
	fi
fi
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct)}"
export PACKAGE_VERSION SOURCE_DATE_EPOCH ARCH

rm -f "$out"/portgrave[_-]* # those of another version

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
# The tag leaves out a library that is not needed (see the Makefile).
program() { GOOS=linux GOARCH=$1 go build -trimpath -buildvcs=false -tags urfave_cli_no_docs -ldflags "-s -w -X main.version=$VERSION" -o "$2" ./cmd/portgrave; }

# The program for this machine generates the manual and completions.
program "$(go env GOHOSTARCH)" "$stage/here"
for page in portgrave.8 portgrave-policy.5; do
	"$stage/here" man "${page%.*}" | gzip -9n >"$stage/$page.gz"
done
"$stage/here" completion bash >"$stage/portgrave.bash"
"$stage/here" completion zsh >"$stage/_portgrave"
"$stage/here" completion fish >"$stage/portgrave.fish"
"$stage/here" schema >"$stage/policy.schema.json"

cp systemd/*.service systemd/*.timer systemd/*.conf systemd/portgrave.sysusers systemd/portgrave.tmpfiles systemd/alerts.yaml systemd/dashboard.json "$stage"
cp policy/example.yaml README.md LICENSE "$stage"
cp policy/default.yaml "$stage/policy.yaml"
cd systemd/packages
cp -R nfpm.yaml copyright lintian-overrides deb rpm "$stage"
cd ../..
cat <<EOF | gzip -9n >"$stage/changelog.gz"
portgrave ($PACKAGE_VERSION) stable; urgency=medium

  * Version $VERSION. What has changed since which version is told at
    https://github.com/portgrave/portgrave/commits

 -- Portgrave maintainers <maintainers@portgrave.example>  $(date -R -d "@$SOURCE_DATE_EPOCH")
EOF

for ARCH; do
	program "$ARCH" "$stage/portgrave"
	chmod -R u=rwX,go=rX "$stage"
	chmod 755 "$stage"/deb/* "$stage"/rpm/*
	find "$stage" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
	for kind in deb rpm; do
		(cd "$stage" && go run "$NFPM" package --config nfpm.yaml --packager "$kind" --target "$out/") >/dev/null
	done
done
