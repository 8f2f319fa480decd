#!/usr/bin/env bash
# Train the router that ships: SmolLM2-135M with an adapter, on the embedded pool.
# runs/atlas_smollm2.sh [FOLDER]. The same command continues a run that was stopped. The specialists
# answer as they will when served; the small model says "unknown" at its price, so that training
# takes no days. Memory is kept between steps: to be given it anew takes as long as to compute in it.
# What ships today came of an earlier plan (runs/atlas_smollm2.log, docs/benchmarks/router_r1.md).
set -euo pipefail
cd "$(dirname "$0")/.."
folder="${1:-build/atlas_smollm2}"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}" TRL_EXPERIMENTAL_SILENCE=1
export MALLOC_TRIM_THRESHOLD_=17179869184 MALLOC_MMAP_THRESHOLD_=4294967296
task='{name: atlas-embedded, model: silent, hops: [1, 2], alike: 0.4, openings: many}'
mkdir -p "$folder"
polyroute train r1 --task "$task" --model smollm2 \
  --seed 0 --folder "$folder/run" --out "$folder/r1.router" 2>&1 | tee -a "$folder/log.txt"
polyroute artifact export "$folder/r1.router" --output "$folder/shipped/r1.router"
