#!/usr/bin/env bash
# The gate for CI: its words are those of `run_all.py gate`, its status is that of the gate.
#
#   benchmarks/gate.sh --against origin/main     # a change, beside what it changes: wants no baseline
#   benchmarks/gate.sh                           # against runs/gate, which the CI keeps between runs
#
# A project of its own sets SUITE, for instance to
#   "python -m suite --profile gate.toml --plugin my_algorithm.py"
# The Markdown table goes to the job's summary where the CI has one ($GITHUB_STEP_SUMMARY).
set -uo pipefail
table=$(mktemp)
trap 'rm -f "$table"' EXIT
${SUITE:-python run_all.py} gate "$@" | tee "$table"
status=${PIPESTATUS[0]}
if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then
  cat "$table" >> "$GITHUB_STEP_SUMMARY"
  if [ "$status" -gt 1 ]; then echo "The gate did not run: see the log." >> "$GITHUB_STEP_SUMMARY"; fi
fi
exit "$status"
