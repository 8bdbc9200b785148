#!/usr/bin/env bash
# Instructions per request of the gateway's in-memory path (parse, admit, write), as callgrind counts them. The number does not depend
# on the machine's speed or on what else it does, so that two commits can be compared anywhere.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v valgrind > /dev/null || { echo "valgrind is missing: apt-get install valgrind" >&2; exit 1; }
requests=${1:-1000}
cargo build --release --locked --quiet -p loadtest
mkdir -p target/loadtest
out=target/loadtest/callgrind.out
log=target/loadtest/callgrind.log
valgrind --tool=callgrind --collect-atstart=no --toggle-collect='*instructions::one_request*' \
    --callgrind-out-file="$out" target/release/loadtest instructions --requests "$requests" 2> "$log"
total=$(awk '/^summary:/ { print $2 }' "$out")
[ "${total:-0}" -gt 0 ] || { echo "callgrind counted nothing; see $log" >&2; exit 1; }
echo "| $(git rev-parse --short=12 HEAD) | $((total / requests)) instructions per request |"
if command -v callgrind_annotate > /dev/null; then
    echo "where they are: callgrind_annotate --inclusive=yes $out | head -60"
fi
