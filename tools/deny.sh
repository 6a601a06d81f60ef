#!/usr/bin/env bash
# Licences, sources and bans of all dependencies, then known vulnerabilities. Rules: deny.toml.
#
# The first part needs no network and must pass. The second needs the RustSec database, a git repository which a closed
# network may not reach: then one line says that advisories were not checked, and nothing else fails. A finding in a
# database that was reached always fails.
set -euo pipefail

readonly version=0.20.2
readonly database_timeout=180 # seconds; a network that swallows packets must not hold up the rest

if ! cargo deny --version 2>/dev/null | grep -qxF "cargo-deny $version"; then
    # A debug build without debug information: half the time of a release build, and the checks take seconds either way.
    CARGO_PROFILE_DEV_DEBUG=0 cargo install --locked --force --debug cargo-deny --version "$version"
fi

cargo deny --locked check --hide-inclusion-graph bans licenses sources

if ! reply=$(timeout "$database_timeout" cargo deny --locked fetch db 2>&1); then
    reason=$(grep -m 1 -E '^(fatal|error)' <<<"$reply" || tail -n 1 <<<"$reply")
    echo "deny: ADVISORIES WERE NOT CHECKED, the RustSec database could not be fetched: ${reason:-no answer in $database_timeout s}" >&2
    exit 0
fi
cargo deny --locked check advisories
