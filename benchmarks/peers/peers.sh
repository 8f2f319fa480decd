#!/usr/bin/env bash
# Train and judge the peers on our tables, in an environment of their own, and write the figures into
# docs/benchmarks/peers.md. The environment: a virtual one with
#   pip install torch==2.13.0 && pip install llmrouter-lib==0.4.0 && pip install --no-deps routellm==0.2.0
# (torch first, so that its CPU build is kept). Finished runs are in build/peers.
# Usage: benchmarks/peers/peers.sh PATH_OF_THE_PEERS_PYTHON [TABLE ...]
set -euo pipefail && cd "$(dirname "$0")/../.."
export OMP_NUM_THREADS=1
python=$1 && shift
tables=("$@") && [ $# -gt 0 ] || tables=(evouna routellm_gsm8k zeroeval_gsm llmrouter_mix)
nice -n 10 .venv/bin/python benchmarks/peers/prepare.py build/peers --tables "${tables[@]}"
for table in "${tables[@]}"; do
  nice -n 10 "$python" benchmarks/peers/peer.py "build/peers/$table"
  for mine in ridge blend ridge-minilm; do
    out=build/peers/$table/polyroute-$mine.json
    [ -f "$out" ] || nice -n 10 .venv/bin/python benchmarks/peers/own.py "$mine" "$table" "$out"
  done
done
nice -n 10 .venv/bin/python benchmarks/peers/report.py docs/benchmarks/peers.md
