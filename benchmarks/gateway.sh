#!/bin/sh
# Compare `polyroute serve` with other gateways, and write docs/benchmarks/gateway.md.
#
#     benchmarks/gateway.sh [--rounds 4] [--only polyroute,litellm]
#
# Each other gateway is installed in a virtual environment of its own under
# ${POLYROUTE_BENCH_CACHE:-~/.cache/polyroute-bench} (LiteLLM's needs about 720 MB); one that cannot
# be installed or started is recorded as such, with the reason. Only 127.0.0.1 is loaded, for about
# a second a cell. `--keep found.json` keeps what was measured; `gateway/page.py` writes the page of
# it again. BENCH_CORES=1,1 names the cores of the servers and of the load, where one is taken.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=${POLYROUTE_BENCH_CACHE:-$HOME/.cache/polyroute-bench}
python=${PYTHON:-$here/../.venv/bin/python}
mkdir -p "$cache"

install() { # name, what pip is told
    [ -e "$cache/$1/ready" ] && return
    rm -rf "$cache/$1"
    if "$python" -m venv "$cache/$1" && "$cache/$1/bin/pip" install -q "$2" > "$cache/$1.log" 2>&1
    then touch "$cache/$1/ready"
    else echo "$1 cannot be installed; see $cache/$1.log" >&2
    fi
}

case " $* " in
    *--no-peers*) ;;
    *)
        install litellm 'litellm[proxy]==1.106.2'
        install sglang-router 'sglang-router==0.3.2'
        install tensorzero 'tensorzero==2026.6.0'
        ;;
esac
exec "$python" "$here/gateway/run.py" --cache "$cache" --write "$here/../docs/benchmarks/gateway.md" "$@"
