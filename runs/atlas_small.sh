#!/usr/bin/env bash
# Train the tiny router from scratch on the small world: runs/atlas_small.sh [FOLDER] [SEED ...]
# Who is called what, knows what, and at what price is drawn anew for every question: cards must be read.
set -euo pipefail
cd "$(dirname "$0")/.."
folder="${1:-build/atlas_small}"
shift || true
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}" TRL_EXPERIMENTAL_SILENCE=1 TOKENIZERS_PARALLELISM=false
mkdir -p "$folder"
for seed in "${@:-0}"; do
  polyroute train r1 --task atlas-small --model tiny --seed "$seed" --folder "$folder/$seed" --out "$folder/$seed.router"
done
