#!/usr/bin/env bash
# Train and judge the peers and this project on the same tables, and write the figures into
# docs/benchmarks/peers.md. The peers get a virtual environment of their own, build/peers/venv, which
# is made here if there is none (some 2 GB). Finished runs are in build/peers and are kept: remove one
# to have it again. A peer is stopped after CAP seconds of CPU for one table (480).
# What needs a model hub is told that there is none, unless HF_HUB_OFFLINE=0.
# Usage: [CAP=seconds] [PEERS=python] benchmarks/peers/peers.sh [TABLE ...]
set -euo pipefail && cd "$(dirname "$0")/../.."
export OMP_NUM_THREADS=1
tables=("$@") && [ $# -gt 0 ] ||
  tables=(routellm_gsm8k zeroeval_gsm evouna llmrouter_mix mmlu_pro)
[ -x .venv/bin/python ] || scripts/install
peers=${PEERS:-build/peers/venv/bin/python}
here='from importlib.metadata import version as v; v("torch"), v("llmrouter-lib"), v("routellm")'
if ! "$peers" -c "$here" 2>/dev/null; then
  python3 -m venv build/peers/venv && peers=build/peers/venv/bin/python
  for package in torch llmrouter-lib '--no-deps routellm'; do
    "$peers" -m pip install --quiet --constraint benchmarks/peers/constraints.txt $package
  done
fi
nice -n 10 .venv/bin/python benchmarks/peers/prepare.py build/peers --tables "${tables[@]}"
for table in "${tables[@]}"; do
  nice -n 10 "$peers" benchmarks/peers/peer.py "build/peers/$table" --cap "${CAP:-480}"
  for mine in ridge blend ridge-minilm; do
    out=build/peers/$table/polyroute-$mine.json
    [ -f "${out%.json}.npy" ] || nice -n 10 .venv/bin/python benchmarks/peers/own.py "$mine" "$table" "$out"
  done
done
nice -n 10 .venv/bin/python benchmarks/peers/report.py docs/benchmarks/peers.md
