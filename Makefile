# The commands of this project. Each installs what is missing (apt on Debian, cargo for tools) without asking.
# `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
INSTALL := tools/install-debian.sh
# cmake: Pingora's zlib-ng; a C compiler: SQLite, ring, jemalloc.
BUILD_PACKAGES := build-essential cmake pkg-config ca-certificates
# The tests drive a real browser through a join link.
TEST_PACKAGES := $(BUILD_PACKAGES) chromium

.PHONY: help
help: ## list these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

.PHONY: demo
demo: build-packages ## build release and run a complete playground on loopback; Ctrl-C removes it
	$(CARGO) build --release --locked
	@$(CARGO) run --release --locked --quiet -- demo $(DEMO_ARGS)

.PHONY: test
test: test-packages ## run the complete test suite
	$(CARGO) test --locked --doc
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
	    set -x; $(CARGO) nextest run --locked --no-fail-fast; \
	else \
	    set -x; $(CARGO) test --locked --no-fail-fast --lib --bins --tests; \
	fi

.PHONY: check
check: build-packages ## formatting, lints, documentation, dependencies
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps
	tools/deny.sh

.PHONY: bench
bench: build-packages ## run the benchmarks
	$(CARGO) bench --locked

# Seconds for each target, and which targets: make fuzz TARGET=query TIME=1800
TIME ?= 60
TARGET ?= query checksum answer route tag config growth

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

.PHONY: test-packages
test-packages:
	@$(INSTALL) $(TEST_PACKAGES)
