#!/usr/bin/env bash
# Makes what `make bench` and `make compare` need under $BENCH_WORK (default bench-work): environments of the peers, with
# the pins of the shared benchmark, and its synthetic logs.  What is there already is kept.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
shared=${HEPHAES_SHARED:-$here/../../shared}
[ -f "$shared/bench/compare/setup.sh" ] || { echo "the shared benchmark is absent (set HEPHAES_SHARED)" >&2; exit 2; }
bash "$shared/bench/compare/setup.sh" full
