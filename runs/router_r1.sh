#!/usr/bin/env bash
# Train Router-R1 with the paper's configuration: runs/router_r1.sh {qwen|llama} {verl|trl} FOLDER
# Not run: it needs GPUs, the data sets from the hub, and NVIDIA_API_KEY for the candidates.
set -euo pipefail
cd "$(dirname "$0")/.."
setting="runs/router_r1_$1.yaml" engine="$2" folder="$3"
case "$engine" in
  trl) exec polyroute train reinforce "$setting" --output "$folder" ;;
  verl)
    # Ray's workers have working folders of their own: the path of the pool is made absolute.
    absolute="$(mktemp -d)/$(basename "$setting")"
    sed "s#config: runs/#config: $PWD/runs/#" "$setting" > "$absolute"
    polyroute train reinforce "$absolute" --engine verl --output "$folder"
    mapfile -t arguments < "$folder/arguments.txt"
    # The entropy bonus is the code's; the paper has none, and neither has our recipe.
    exec python -m verl.trainer.main_ppo "${arguments[@]}" \
      actor_rollout_ref.actor.entropy_coeff=0.001
    ;;
  *) echo "engine: verl or trl, not $engine" >&2; exit 2 ;;
esac
