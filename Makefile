# make run   builds, applies the default policy to this host, shows plan, status, drift and exposure
# make test  installs what the tests need, then runs everything
# make       lists the targets

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help build run demo packages test built-and-linted vm lint fuzz soak bench deps installed peers debian clean

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# root keeps Go and its caches
AS_ROOT := $(if $(SUDO),sudo env "PATH=$$PATH" "HOME=$$HOME" "GOFLAGS=-buildvcs=false $${GOFLAGS:-}" "CGO_ENABLED=$$(go env CGO_ENABLED)" "GORACE=$${GORACE:-}",env)
# A number of inputs: at the end of a span of time, Go 1.26 may report "context deadline exceeded" though nothing was found (https://go.dev/issue/75804).
FUZZTIME ?= 20000x
# without the Markdown library behind the manual pages of urfave/cli, which takes the program an eighth longer to start; ours come from elsewhere
TAGS := urfave_cli_no_docs
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 11

build: ## the binary, static, ./portgrave
	CGO_ENABLED=0 go build -trimpath -tags $(TAGS) -ldflags "-s -w -X main.version=$(VERSION)" -o portgrave ./cmd/portgrave

run: build ## apply the default policy to THIS host, show it and what the host exposes; undo: sudo ./portgrave teardown
	@echo "== plan: what apply would change"
	@$(SUDO) ./portgrave plan || [ $$? = 2 ]
	@echo "== apply"
	@$(SUDO) ./portgrave apply --reason "make run"
	@echo "== status"
	@$(SUDO) ./portgrave status
	@echo "== drift"
	@$(SUDO) ./portgrave drift
	@echo "== audit: who can really reach what"
	@$(SUDO) ./portgrave audit || [ $$? = 2 ]
	@echo
	@echo "To undo all of it: sudo ./portgrave teardown"

packages: ## bin/packages: .deb and .rpm for amd64 and arm64; the same commit gives the same bytes
	@VERSION="$(VERSION)" bash systemd/packages/build.sh bin/packages
	@ls -l bin/packages

demo: build ## the main job in throwaway network namespaces, with real packets; changes nothing on the host
	@command -v ip >/dev/null || $(MAKE) --no-print-directory deps
	@CGO_ENABLED=0 go build -o bin/demo ./test/demo
	@$(SUDO) ./bin/demo $(if $(PICTURE),-picture $(PICTURE)) ./portgrave

# What the tests need from Debian or Ubuntu, and why.
PACKAGES := nftables iptables ipset iproute2 iputils-ping procps gcc libc6-dev systemd util-linux file lintian rpm groff-base mandoc zsh fish mmdebstrap debian-archive-keyring e2fsprogs systemd-container qemu-system-x86
# Firewalls that the tests judge audit by, and keepalived. Unpacked into bin/peers, never installed: they would take this machine over when it next starts.
PEERS := ufw firewalld dbus docker.io busybox-static keepalived
deps: peers debian ## install what the tests need
installed:
	@missing=(); for p in $(PACKAGES); do dpkg -s "$$p" >/dev/null 2>&1 || missing+=("$$p"); done; \
	if [ $${#missing[@]} = 0 ]; then exit 0; fi; \
	command -v apt-get >/dev/null || { echo "Needed and missing: $${missing[*]}. This is no Debian or Ubuntu: install them by hand." >&2; exit 1; }; \
	echo "Installing $${missing[*]}: nftables as a second opinion on the kernel, iptables and ipset for the iptables backend, iproute2 for network namespaces, iputils-ping to ping in them, procps, gcc with libc6-dev for the race detector, systemd for its tools that packages and units are tried with, util-linux for setpriv, lintian, rpm and file to look at packages, groff-base and mandoc at manual pages, zsh and fish to try completions, mmdebstrap with debian-archive-keyring to build a Debian system in a folder, systemd-container to start it in a container, and qemu-system-x86 with e2fsprogs for its disk to start it in a virtual machine."; \
	$(SUDO) apt-get update -q; $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$${missing[@]}"

# After the packages that are installed, since what those bring need not be unpacked.
peers: installed
	@[ "$$(cat bin/peers/packages 2>/dev/null)" = "$(PEERS)" ] || { \
	command -v apt-get >/dev/null || { echo "Needed and missing: $(PEERS), as Debian packages. This is no Debian or Ubuntu." >&2; exit 1; }; \
	echo "Unpacking into bin/peers (65 MB, not installed): ufw, firewalld (with dbus) and docker.io (with busybox-static for a container) as the real firewalls that audit, explain and import are judged by, and keepalived, whose VRRP a service lets in."; \
	$(SUDO) apt-get update -q; $(SUDO) sh test/peers/fetch.sh bin/peers $(PEERS); }

# After peers: both ask apt.
debian: installed | peers
	@[ "$$(cat bin/debian/recipe 2>/dev/null)" = "$$(sha256sum <test/debian/build.sh)" ] || { \
	echo "Building a Debian system and two kernels for virtual machines in bin/debian (330 MB, two minutes, not installed): systemd starts in it with our units."; \
	$(SUDO) sh test/debian/build.sh bin/debian; }

lint: ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$unformatted" ] || { echo "not formatted: $$unformatted"; exit 1; }
	go vet -tags $(TAGS) ./... && go vet -tags $(TAGS),boot ./test/boot && go vet -tags $(TAGS),kernels ./test/e2e
	go run $(STATICCHECK) -tags $(TAGS),boot,kernels ./...

# What make test builds is built with the flags of the program, so that a library is compiled once for
# the program, its packages, vet, staticcheck and the tests. Only the race detector needs C.
test: export CGO_ENABLED := 0
test: export GOFLAGS := $(shell go env GOFLAGS) -trimpath -tags=$(TAGS)
# A process under the race detector would sleep for a second before it ends, and the scripts of
# cmd/portgrave start hundreds.
test: export GORACE := atexit_sleep_ms=0

# Six tests at a time: most of them wait for what must not come. lint has vetted them.
TESTS := go test -vet=off -p 1 -parallel 6 -timeout 40m
WITH_RACE := $(AS_ROOT) env CGO_ENABLED=1 $(TESTS) -race
# Tests below test/ run the program in processes of its own or compare one answer at a time with the
# kernel's, so they need no race detector. Those of COMPUTING compute in one goroutine, where it finds
# nothing and takes ten times as long, and the scripts of cmd/portgrave start the program hundreds of
# times. Both run once without it, and a sample with it: -short draws a fifth of the random cases, and
# NO_RACE names the longest tests of one goroutine.
COMPUTING := ./cmd/portgrave ./firewall/exposure/... ./firewall/host/lease ./firewall/iptsave
NO_RACE := Hostile|TestManyMatchesInOneRule|TestTooManyRules|TestSetErrorsSayWhere|TestCorporaAreRealOutput
NO_RACE := $(NO_RACE)|TestLeasesOpenWhatTheySay|TestScripts/(check_ci|completion|install|kernel_(confirm|full|hostile|iptables|leases|lifecycle|planfile|protocols|tracking))$$
# As few inputs as show that a target works, and that what was found before stays mended.
# make test FUZZTIME=… gives them more, or less.
SAMPLE_INPUTS := $(if $(filter file,$(origin FUZZTIME)),2000x,$(FUZZTIME))
# One after the other, since side by side both would compile the same libraries.
built-and-linted:
	@$(MAKE) --no-print-directory build
	@$(MAKE) --no-print-directory lint
test: ## everything: lint, all tests as root, the packages' own under the race detector, a sample of the virtual machines and of fuzzing
	@[ "$$(id -u)" = 0 ] || sudo -n true 2>/dev/null || echo "Asking for sudo: the tests make network namespaces."
	@$(MAKE) --no-print-directory -j 2 --output-sync=target deps built-and-linted
	@echo "$(TESTS) ./test/... $(COMPUTING), and beside it -race of all packages but those of test/"; \
	computing=$$(go list $(COMPUTING)); all=$$(go list ./...); \
	others=$$(echo "$$all" | grep -v /test/ | grep -vxF "$$computing"); \
	$(AS_ROOT) $(TESTS) ./test/e2e ./test/... $(COMPUTING) & plain=$$!; failed=0; \
	$(WITH_RACE) $$others || failed=$$?; \
	$(WITH_RACE) -short -skip '$(NO_RACE)' $$computing || failed=$$?; \
	wait $$plain || failed=$$?; exit $$failed
	@echo "A sample of fuzzing, and beside it of virtual machines; each shows its output when it has ended."
	@$(MAKE) --no-print-directory -j 2 --output-sync=target FUZZTIME=$(SAMPLE_INPUTS) fuzz vm SAMPLE=1

fuzz: ## each fuzz target for FUZZTIME, a number of inputs or a span of time (make fuzz FUZZTIME=2000000x); RULESETS random rulesets against the kernel
	@[ -z "$(RULESETS)" ] || $(AS_ROOT) PORTGRAVE_RULESETS=$(RULESETS) go test -count=1 -timeout 2h -v -run Kernel ./test/exposure
	@mkdir -p bin; \
	folders=$$(grep -rl --include='*_test.go' --exclude-dir=bin '^func Fuzz' . | xargs dirname | sort -u); \
	for folder in $$folders; do \
		go test -c -fuzz . -o bin/fuzz.test "$$folder"; \
		cache=$$(go env GOCACHE)/fuzz/$$(go list "$$folder"); \
		targets=$$(bin/fuzz.test -test.list '^Fuzz'); \
		for target in $$targets; do \
			echo "fuzzing $$target in $$folder for $(FUZZTIME)"; \
			(cd "$$folder" && "$(CURDIR)/bin/fuzz.test" -test.run '^$$' -test.fuzz "^$$target\$$" -test.fuzztime $(FUZZTIME) \
				-test.fuzzminimizetime 100x -test.fuzzcachedir "$$cache"); \
		done; \
	done

# Of each kind one: the usual boot, one that finds nothing to load, the control, and the older kernel.
VM_SAMPLE := TestBoot/(last_confirmed|damaged_generation_and)|TestLate|TestKernels/6\.1$$
vm: deps packages ## virtual machines: one with our package starts, and nobody gets in who should not, from the first moment on; end-to-end tests in kernels with VRFs and IPVS (ten minutes on two processors; make vm SAMPLE=1 in four)
	$(AS_ROOT) go test -count 1 -tags boot,$(TAGS) -timeout 40m -v $(if $(SAMPLE),-run '$(VM_SAMPLE)') ./test/boot

soak: deps build ## the daemon under 200 disruptions of each kind and 100 kills, with probes (15 minutes)
	$(AS_ROOT) PORTGRAVE_SOAK=1 go test -count 1 -timeout 60m -v -run 'Daemon|Owned' ./test/e2e

# The short run shows that it works; only the long one is worth a place in the repository.
bench: deps build ## portgrave, its peers and the kernel alone in one run, in 20 minutes; make bench QUICK=1 in two; then Go benchmarks
	@CGO_ENABLED=0 go build -o bin/bench ./test/bench
	$(SUDO) ./bin/bench $(if $(QUICK),-quick,-out test/bench/results -readme test/bench/README.md)
	$(AS_ROOT) go test -run '^$$' -bench . -benchmem $(if $(QUICK),-benchtime 1x) ./...

clean: ## what was built
	rm -rf portgrave bin 2>/dev/null || $(SUDO) rm -rf bin # bin/peers and bin/debian are root's
