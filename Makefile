# handfast: one makefile; each folder adds a module.mk. Everything made goes to $(BUILD).
#
#   make            build the programs into build/bin
#   make demo       install what is needed, build, pair two namespaced hosts, run a tunnel (root)
#   make test       install what is needed, build, every test that fits in 40 minutes (root)
#   make check      the tests that need neither root nor a network, in under two minutes
#   make test-long  what takes hours
#   make ct         constant time: gcc and clang, -O2 and -O3, under valgrind
#   make tsan       data races: unit tests and the demo under ThreadSanitizer (SHORT=1: less)
#   make leaks      memory and descriptors over the daemons' lives and thousands of cycles
#   make analyze    static analysis (FAST=1: what takes a minute)
#   make coverage   lines and branches of common/ and each daemon that tests reach
#   make bench      figures beside their peers'
#   make bench-auth those of logins and signed requests alone
#   make bench-tunnel  those of tunnels, beside wireguard-go, fastd and OpenVPN (ROUNDS=5)
#   make bench-tunnel-growth  more tunnels, larger packets, worse networks
#   make fuzz       libFuzzer over every decoder (SECONDS=20 each; RUNS=N executions each; RUNS=0: seeds alone)
#   make fuzz-coverage  what the fuzzers' inputs reach of each decoder
#   make mutants    break the code on purpose, see the named tests fail (QUICK=1: six of them)
#   make formal     the protocol models and their mutants, by spin (MODELS=part of a name)
#   make install    DESTDIR= PREFIX=/usr
#   make deb        the Debian package, in build/deb; ARCH=arm64 builds it for the Pi (root)
#   make deps       what building and running needs; make deps-test, make deps-bench: the rest

BUILD ?= build
# 0.2.0 of "handfast (0.2.0~deb12u1) …".
VERSION := $(shell sed -n '1s/^[^0-9]*\([0-9.]*\).*/\1/p' $(firstword $(wildcard debian/changelog packaging/debian/changelog)))
PREFIX ?= /usr
SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system
# Runs a program built for another machine.
RUNNER ?=
PYTHON ?= /usr/bin/python3
PKG_CONFIG ?= pkg-config
SECONDS ?= 20

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDEXPANSION:
.SECONDARY:

# What an install needs. packaging/debian/control names the same libraries.
DEPS_BUILD := gcc make pkgconf libc6-dev libevent-dev libsodium-dev libmicrohttpd-dev libgnutls28-dev \
	libjansson-dev libyaml-dev libsystemd-dev libsqlite3-dev libwslay-dev libssl-dev libcurl4-openssl-dev \
	$(if $(filter x86_64,$(shell uname -m)), libipsec-mb-dev )
# A node that is not Debian's brings an npm of its own, which conflicts with Debian's.
DEPS_TEST := python3 iperf3 python3-cryptography python3-spake2 python3-websockets python3-yaml \
	clang libclang-rt-dev llvm clang-tidy cppcheck gcovr valgrind iproute2 iputils-ping procps \
	nftables ethtool curl openssl nginx strace binutils util-linux mandoc bash zsh fish \
	mmdebstrap systemd systemd-container e2fsprogs mount dpkg-dev git lintian qemu-user-static spin tcc \
	caddy $(if $(shell command -v npm),,nodejs npm)
DEPS_BENCH := wrk iperf3 wireguard-go wireguard-tools fastd openvpn openssl python3-fastapi python3-uvicorn
DEPS_DEB := build-essential debhelper dpkg-dev git
DEPS_CROSS := dpkg-dev git mmdebstrap util-linux
DEPS_DEMO := iproute2 iputils-ping procps python3 util-linux

include config.mk

# ---- modules -------------------------------------------------------------------------------
LAYERS :=
PROGRAMS :=
include $(wildcard common/*/module.mk) $(wildcard daemons/*/module.mk) $(wildcard tests/*/module.mk) man/module.mk

# Lower layers come later on the link line.
LAYER_ORDER := service auth http store event config proto crypto base
LAYER_LIBS := $(foreach l,$(filter $(LAYERS),$(LAYER_ORDER)),$(BUILD)/lib/lib$(l).a)

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

# A library is made anew when a source comes or goes, too: its list changes then.
define layer_rule
$(BUILD)/lib/lib$(1).a: $$(call obj,$$($(1)_SRC)) $(BUILD)/lib/lib$(1).list
$(BUILD)/lib/lib$(1).list: SOURCES := $$($(1)_SRC)
endef
define program_rule
$(BUILD)/lib/libd_$(1).a: $$(call obj,$$(filter-out %/main.c,$$($(1)_SRC))) $(BUILD)/lib/libd_$(1).list
$(BUILD)/lib/libd_$(1).list: SOURCES := $$(filter-out %/main.c,$$($(1)_SRC))
$(BUILD)/bin/$($(1)_BIN): $$(call obj,$$(filter %/main.c,$$($(1)_SRC))) $(BUILD)/lib/libd_$(1).a $(LAYER_LIBS)
endef
$(foreach l,$(LAYERS),$(eval $(call layer_rule,$(l))))
$(foreach p,$(PROGRAMS),$(eval $(if $($(p)_BIN),,$(eval $(p)_BIN := $(p))))$(eval $(call program_rule,$(p))))

BINARIES := $(foreach p,$(PROGRAMS),$(BUILD)/bin/$($(p)_BIN))

all: $(BINARIES)

$(BUILD)/lib/%.a:
	@mkdir -p $(@D)
	@rm -f $@
	$(Q)$(AR) rcs $@ $(filter %.o,$^)

$(BUILD)/lib/%.list: FORCE
	@mkdir -p $(@D)
	@echo '$(SOURCES)' | cmp -s - $@ || echo '$(SOURCES)' >$@
FORCE:

$(BUILD)/obj/%.o: %.c config.mk | $$(GENERATED)
	@mkdir -p $(@D)
	@$(SAY) "  CC      $<"
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/bin/%:
	@mkdir -p $(@D)
	@$(SAY) "  LINK    $@"
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %/libd_%.a,$^) \
		-Wl,--start-group $(filter-out %/libd_%.a,$(filter %.a,$^)) -Wl,--end-group $(ALL_LIBS)

-include $(shell [ -d $(BUILD)/obj ] && find $(BUILD)/obj -name '*.d')

# ---- life ----------------------------------------------------------------------------------
clean:
	rm -rf $(BUILD)

apt = packages="$$(for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done)"; \
	if [ -n "$$packages" ]; then \
		echo "installing with apt-get:" $$packages; \
		if [ "$$(id -u)" != 0 ]; then echo "this needs root: apt-get install" $$packages >&2; exit 1; fi; \
		{ apt-get -o DPkg::Lock::Timeout=500 -o Acquire::Retries=5 -qq update && \
		DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=500 -o Acquire::Retries=5 -qq install -y --no-install-recommends $$packages; } >/dev/null; fi

deps:
	@$(call apt,$(DEPS_BUILD))
deps-demo: deps
	@$(call apt,$(DEPS_DEMO))
deps-test: deps-demo deps-deb deps-cross
	@$(call apt,$(DEPS_TEST))
deps-bench: deps-test
	@$(call apt,$(DEPS_BENCH))

# `make test` and `make demo` begin on a machine that has nothing: install first, then let a
# second make look at pkg-config again.
test: deps-test
	@$(MAKE) --no-print-directory all unit-tests tools ct-programs
	@tests/run $(BUILD) $(if $(TALLY),--tally $(TALLY)) $(TESTS)

test-long: deps-test
	@$(MAKE) --no-print-directory all unit-tests tools ct-programs
	@tests/run $(BUILD) --long $(TESTS)

check: all unit-tests tools ct-programs
	@tests/run $(BUILD) --quick $(TESTS)

# gcc and clang, at -O2 (where CI has them anyway) and -O3.
CT_O3 := CFLAGS=-O3 WERROR=1 ct-programs
ct: deps-test
	@$(MAKE) --no-print-directory CC=gcc ct-programs
	@$(MAKE) --no-print-directory CC=clang BUILD=$(BUILD)/clang ct-programs
	@$(MAKE) --no-print-directory CC=gcc BUILD=$(BUILD)/gcc-O3 $(CT_O3)
	@$(MAKE) --no-print-directory CC=clang BUILD=$(BUILD)/clang-O3 $(CT_O3)
	@tests/ct/run gcc_O2=$(BUILD) clang_O2=$(BUILD)/clang gcc_O3=$(BUILD)/gcc-O3 clang_O3=$(BUILD)/clang-O3
.PHONY: ct

# SHORT=1: the unit tests of what has threads, and the demo; else every unit test.
TSAN_TESTS := crypto/test-secret event/test-loop event/test-varlink http/test-http-server pairingd/test-peers \
	pskd/test-hello pskd/test-keyfile pskd/test-keys pskd/test-keys-asking pskd/test-keys-crash pskd/test-keys-disk \
	pskd/test-keys-erase pskd/test-keys-file pskd/test-keys-prototype pskd/test-ledger pskd/test-packets pskd/test-path \
	pskd/test-path-ecn pskd/test-path-mtu pskd/test-path-switch pskd/test-path-threads pskd/test-resolve pskd/test-seal pskd/test-together \
	pskd/test-twins
SHORT :=
tsan-programs:
	@$(MAKE) --no-print-directory CC=clang BUILD=$(BUILD)/tsan CFLAGS="-O1 -g" SANITIZE=thread WERROR=1 all \
		$(if $(SHORT),$(TSAN_TESTS:%=$(BUILD)/tsan/tests/unit/%),unit-tests)
tsan: deps-test
	@$(MAKE) --no-print-directory tsan-programs
	@tests/checkers/tsan $(BUILD)/tsan $(if $(SHORT),$(TSAN_TESTS))

# Line and branch coverage, in build/cov/coverage.
coverage: deps-test
	@$(MAKE) --no-print-directory CC=gcc BUILD=$(BUILD)/cov COVERAGE=1 CFLAGS="-O0 -g" all unit-tests tools
	@tests/checkers/coverage $(BUILD)/cov

# Memory and descriptors: what daemons lose over a whole life, and over thousands of cycles.
leaks: deps-test
	@$(MAKE) --no-print-directory CC=clang BUILD=$(BUILD)/asan CFLAGS="-O1 -g" SANITIZE=address,undefined WERROR=1 all unit-tests
	@$(MAKE) --no-print-directory all tools
	@tests/checkers/leaks $(BUILD) $(BUILD)/asan

# Static analysis: cppcheck, clang-tidy, gcc -fanalyzer; FAST=1: what takes a minute.
FAST :=
analyze: deps-test $(GENERATED)
	@tests/checkers/analyze $(BUILD) $(if $(FAST),--fast)
.PHONY: tsan tsan-programs coverage leaks analyze

demo: deps-demo
	@$(MAKE) --no-print-directory all
	@HANDFAST_BUILD=$(BUILD) PYTHONPATH=tests/system/lib PYTHONDONTWRITEBYTECODE=1 $(PYTHON) tests/demo/demo.py

bench: deps-bench
	@$(MAKE) --no-print-directory all tools benches
	@HANDFAST_BUILD=$(BUILD) PYTHONPATH=tests/system/lib PYTHONDONTWRITEBYTECODE=1 tests/bench/run $(BENCHES)

bench-auth:
	@$(MAKE) --no-print-directory bench BENCHES=auth
# tests/bench/tunnel tells what ROUNDS= and the rest are.
bench-tunnel:
	@$(MAKE) --no-print-directory bench BENCHES=tunnel
bench-tunnel-growth:
	@$(MAKE) --no-print-directory bench BENCHES=tunnel-growth
.PHONY: bench-auth bench-tunnel bench-tunnel-growth

# Deliberate breaks of the code, each caught by the test that is named for it: tests/mutants.
mutants: all unit-tests tools
	@tests/mutants/run --build $(BUILD) $(if $(QUICK),--quick) $(if $(JOBS),--jobs $(JOBS)) $(MUTANTS)
.PHONY: mutants

# The models of the protocols and their mutants: tests/formal/README.
formal: deps-test
	@tests/formal/run $(MODELS)
.PHONY: formal

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/libexec/handfast
	install -m 755 $(BUILD)/bin/handfast $(DESTDIR)$(PREFIX)/bin/
	install -m 755 $(filter-out %/handfast,$(BINARIES)) $(DESTDIR)$(PREFIX)/libexec/handfast/
	for m in $(MANPAGES); do install -D -m 644 $$m $(DESTDIR)$(PREFIX)/share/man/man$${m##*.}/$${m##*/}; done
	install -D -m 644 conf/handfast.catalog $(DESTDIR)$(PREFIX)/lib/systemd/catalog/handfast.catalog
	install -d -m 755 $(DESTDIR)$(SYSCONFDIR)/handfast $(DESTDIR)$(SYSCONFDIR)/handfast/tunnels
	for c in conf/*.yaml; do install -m 644 $$c $(DESTDIR)$(SYSCONFDIR)/handfast/; done
	install -d $(DESTDIR)$(UNITDIR)
	install -m 644 $(wildcard systemd/*.service systemd/*.socket systemd/*.target) $(DESTDIR)$(UNITDIR)/
	# What systemd 254 brought; an earlier one complains about it.
	if $(PKG_CONFIG) --atleast-version=254 libsystemd; then for u in systemd/*.service; do \
		install -D -m 644 -t $(DESTDIR)$(UNITDIR)/$${u##*/}.d systemd/254/50-handfast-restart.conf && \
		{ ! grep -q ^LoadCredentialEncrypted= $$u || \
		install -m 644 -t $(DESTDIR)$(UNITDIR)/$${u##*/}.d systemd/254/50-handfast-credential.conf; } || exit 1; done; fi
	install -D -m 644 systemd/handfast.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/handfast.conf
	install -D -m 644 systemd/handfast.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/handfast.conf
	for d in sysctl.d modules-load.d; do for f in conf/$$d/*.conf; do \
		[ ! -e "$$f" ] || install -D -m 644 "$$f" $(DESTDIR)$(PREFIX)/lib/$$d/$${f##*/} || exit 1; done; done
	cd conf && find examples -type f 2>/dev/null | while read -r f; do \
		install -D -m 644 "$$f" $(DESTDIR)$(PREFIX)/share/doc/handfast/$$f || exit 1; done
	for s in bash zsh fish; do $(RUNNER) $(BUILD)/bin/handfast completion $$s >$(BUILD)/completion.$$s || exit 1; done
	install -D -m 644 $(BUILD)/completion.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/handfast
	install -D -m 644 $(BUILD)/completion.zsh $(DESTDIR)$(PREFIX)/share/zsh/vendor-completions/_handfast
	install -D -m 644 $(BUILD)/completion.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/handfast.fish

# Builds a copy of the tree under $(BUILD)/deb. ARCH= another architecture, in a root of its own.
ARCH :=
deb-here := $(shell dpkg --print-architecture 2>/dev/null)
deb: $(if $(filter-out $(deb-here),$(ARCH)),deps-cross,deps-deb)
	@packaging/build-deb $(BUILD) $(VERSION) $(or $(ARCH),$(deb-here))

deps-deb: deps
	@$(call apt,$(DEPS_DEB))
deps-cross:
	@$(call apt,$(DEPS_CROSS))

.PHONY: deb deps-deb deps-cross
.PHONY: all clean deps deps-demo deps-test deps-bench check test test-long demo bench fuzz install

show-version:
	@echo $(VERSION)
.PHONY: show-version

help:
	@sed -n 's/^# \{0,3\}\(make .*\)/\1/p' Makefile
.PHONY: help FORCE
