#!/usr/bin/env bash
# Train the router that ships: SmolLM2-135M with an adapter, on the embedded pool.
# runs/atlas_smollm2.sh [FOLDER]. Hours on two cores; the same command continues a run that was
# stopped. The specialists answer as they will when served; the small model says "unknown" at its
# price, so that training takes hours and not days. What ships is three rounds of imitation and 30
# steps of RLOO (runs/atlas_smollm2.log). Its teachers did not think aloud yet, nor gave up at times,
# so a run of today differs from it.
set -euo pipefail
cd "$(dirname "$0")/.."
folder="${1:-build/atlas_smollm2}"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}" TRL_EXPERIMENTAL_SILENCE=1
mkdir -p "$folder"
polyroute train r1 --task '{name: atlas-embedded, model: silent, hops: [1, 2]}' --model smollm2 \
  --seed 0 --folder "$folder/run" --out "$folder/r1.router" 2>&1 | tee -a "$folder/log.txt"
polyroute artifact export "$folder/r1.router" --output "$folder/shipped/r1.router"
