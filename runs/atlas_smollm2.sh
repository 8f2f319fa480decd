#!/usr/bin/env bash
# Train the router that ships: SmolLM2-135M with an adapter, on the embedded pool.
# runs/atlas_smollm2.sh [FOLDER]. About two hours on two cores; the same command continues a run that
# was stopped. The specialists answer as they will when served; the small model says "unknown" at its
# price, so that training takes hours and not days. What ships was exported after the third round of
# imitation (runs/atlas_smollm2.log): reinforcement from there lowered what it earns greedily. It was
# made before the teacher that asks at random gave up at times, so a run of today differs from it.
set -euo pipefail
cd "$(dirname "$0")/.."
folder="${1:-build/atlas_smollm2}"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}" TRL_EXPERIMENTAL_SILENCE=1
mkdir -p "$folder"
polyroute train r1 --task '{name: atlas-embedded, model: silent, hops: [1, 2]}' --model smollm2 \
  --seed 0 --folder "$folder/run" --out "$folder/r1.router" 2>&1 | tee -a "$folder/log.txt"
polyroute artifact export "$folder/r1.router" --output "$folder/shipped/r1.router"
