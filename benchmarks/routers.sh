#!/usr/bin/env bash
# Fit and judge every estimator on the nine tables, and write the figures into docs/benchmarks/routers.md.
# Finished cells are in build/routers and are not computed again. Arguments go to routers.py.
set -euo pipefail && cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1
nice -n 10 .venv/bin/python benchmarks/routers.py "$@"
nice -n 10 .venv/bin/python benchmarks/routers_report.py docs/benchmarks/routers.md
