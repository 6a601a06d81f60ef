#!/bin/bash
# Fuzzes one target for some seconds: tools/fuzz.sh <target> <seconds>. `make fuzz` calls it for each.
#
# No sanitizer: there is no unsafe code to watch, and without one the same time tries several times as many inputs.
# RUSTC_BOOTSTRAP lets the stable compiler take the instrumentation flags. New inputs stay in fuzz/corpus/<target>;
# fuzz/README.md says how to make the corpus small again before it is committed.

set -euo pipefail
cd "$(dirname "$0")/.."
target=$1 seconds=$2

# Longest input in bytes, and seconds that one input may take. `growth` judges the cost by itself, on long texts.
case $target in
answer) longest=8192 slowest=5 ;;
growth) longest=512 slowest=60 ;;
*) longest=4096 slowest=5 ;;
esac

export RUSTC_BOOTSTRAP=1
# A corpus directory of the package is named first: that is where libFuzzer puts what is new.
cargo fuzz run -s none "$target" "fuzz/corpus/$target" -- \
    -dict="fuzz/dictionaries/$target.dict" -max_len="$longest" -timeout="$slowest" -rss_limit_mb=1024 \
    -max_total_time="$seconds" -print_final_stats=1
