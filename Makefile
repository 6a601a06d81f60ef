# The commands of this project. Each installs what is missing (apt on Debian, cargo for tools) without asking.
# `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
INSTALL := tools/install-debian.sh
# cmake: Pingora's zlib-ng; a C compiler: SQLite, aws-lc, jemalloc.
BUILD_PACKAGES := build-essential cmake pkg-config ca-certificates
# The tests drive a real browser through a join link, cut a network of their own (ip; unshare comes with Debian), and take
# the place of nginx.
TEST_PACKAGES := $(BUILD_PACKAGES) chromium iproute2 nginx-light curl prometheus
# What Usher is measured beside and with.
BENCH_PACKAGES := nginx-light haproxy wrk openssl valgrind util-linux iproute2

# What is measured: the profile that packages ship, or any binary: make bench BENCH_BINARY=/usr/bin/usher
BENCH_PROFILE ?= dist
BENCH_BINARY ?=
BENCH = BENCH_BINARY="$(or $(BENCH_BINARY),$(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/$(BENCH_PROFILE)/usher)" \
    BENCH_QUICK="$(QUICK)" BENCH_ONLY="$(ONLY)" BENCH_RECORD="$(RECORD)" $(CARGO) bench --locked --bench end_to_end

.PHONY: help
help: ## list these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

# The demo is built to be there soon: without optimisation, and without jemalloc, which makes a long-running process small.
DEMO_BUILD := --profile demo --no-default-features --locked
DEMO := $(or $(CARGO_TARGET_DIR),target)/demo/usher

.PHONY: demo
demo: build-packages ## run a complete playground on loopback; Ctrl-C removes it
	@test -x $(DEMO) || echo "Building Usher and some 250 libraries without optimisation: about 4 minutes on two cores, once."
	$(CARGO) build $(DEMO_BUILD)
	@$(DEMO) demo $(DEMO_ARGS)

.PHONY: test
test: test-packages ## run the complete test suite
	$(CARGO) test --locked --doc
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
	    set -x; $(CARGO) nextest run --locked --no-fail-fast; \
	else \
	    set -x; $(CARGO) test --locked --no-fail-fast --lib --bins --tests; \
	fi

RELIABILITY := $(abspath $(or $(CARGO_TARGET_DIR),target))/reliability

.PHONY: reliability
reliability: test-packages ## run the tests of faults and write docs/reliability.md from what they saw
	rm -rf $(RELIABILITY)
	USHER_RELIABILITY=$(RELIABILITY) $(CARGO) test --locked --test it -- faults:: kill_loop:: restoring:: store_trouble:: recovery:: edge::university:: one_picture:: health:: recordings:: --test-threads=2
	$(CARGO) test --locked --lib placement::watch # outages of minutes, with the shipped settings
	USHER_RELIABILITY=$(RELIABILITY) $(CARGO) test --locked --test it reliability::render -- --exact --ignored

.PHONY: check
check: build-packages ## formatting, lints, documentation, dependencies
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps
	tools/deny.sh

.PHONY: bench
bench: bench-packages bench-binary ## measure beside nginx and HAProxy (half an hour, machine idle), write docs/performance.md; QUICK=1 only tries it
	$(BENCH)

.PHONY: bench-check
bench-check: bench-packages bench-binary ## count the instructions of join and create, fail at 5 % more; RECORD=1 writes them down
	$(BENCH) -- instructions

.PHONY: bench-micro
bench-micro: build-packages ## time signatures, parameters, routing, choosing and rendering one by one (Criterion)
	$(CARGO) bench --locked --bench protocol

.PHONY: bench-binary
bench-binary: build-packages
	@test -n "$(BENCH_BINARY)" || { set -x; $(CARGO) build --locked --profile $(BENCH_PROFILE); }

# Seconds for each target, and which targets: make fuzz TARGET=query TIME=1800
TIME ?= 60
TARGET ?= query checksum answer head route tag config client_hello proxy_protocol reply rewriting chunks growth

.PHONY: fuzz
fuzz: build-packages ## fuzz each target for TIME=60 seconds, or one: TARGET=query TIME=1800
	@$(CARGO) fuzz --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-fuzz --version 0.13.2
	@for target in $(TARGET); do tools/fuzz.sh $$target $(TIME); done

.PHONY: build
build: build-packages ## build the release binary, target/release/usher
	$(CARGO) build --release --locked

.PHONY: deb
deb: build-packages ## build the Debian package, target/debian/*.deb
	@$(CARGO) deb --version >/dev/null 2>&1 || $(CARGO) install --locked --debug cargo-deb --version 3.8.0
	$(CARGO) deb --locked --profile dist

.PHONY: build-packages
build-packages:
	@$(INSTALL) $(BUILD_PACKAGES)

.PHONY: bench-packages
bench-packages:
	@$(INSTALL) $(BENCH_PACKAGES)

.PHONY: test-packages
test-packages:
	@$(INSTALL) $(TEST_PACKAGES)

KILLS ?= 500

.PHONY: kill-test
kill-test: build-packages ## kill `usher serve` KILLS times (500) under load and check that nothing promised is lost
	KILLS=$(KILLS) $(CARGO) test --locked --test it -- --nocapture kill_loop::
