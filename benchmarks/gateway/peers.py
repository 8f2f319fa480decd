"""Other gateways, each from a virtual environment of its own, in the state its makers advise."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from load import CORES, KEY, Server, free_port, start

__all__ = ["PEERS"]

_PATIENCE_S = 420
"""Seconds that one may take to start: more than ten of the processor, on a machine that is busy."""

LITELLM = """\
model_list:
  - model_name: small
    litellm_params:
      {{model: openai/gpt-4o-mini, api_base: "http://127.0.0.1:{upstream}/v1", api_key: none}}
litellm_settings: {{request_timeout: 600, num_retries: 0, callbacks: []}}
general_settings: {{master_key: "{key}"}}
"""

TENSORZERO = """\
[gateway]
observability.enabled = false
[models.small]
routing = ["mock"]
[models.small.providers.mock]
type = "openai"
model_name = "mock-model"
api_base = "http://127.0.0.1:{upstream}/v1/"
api_key_location = "none"
"""


def litellm(upstream: int, folder: Path, cache: Path) -> Server:
    """Its proxy with one worker, no database, its documented production mode."""
    config, port = folder / "litellm.yaml", free_port()
    config.write_text(LITELLM.format(upstream=upstream, key=KEY))
    program = cache / "litellm" / "bin" / "litellm"
    command = [program, "--config", config, "--port", port, "--host", "127.0.0.1"]
    return start(
        "litellm 1.106.2",
        [*command, "--num_workers", 1],
        port,
        seconds=_PATIENCE_S,
        env={
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOG": "ERROR",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it asks the network for prices
        },
    )


def sglang_router(upstream: int, folder: Path, cache: Path) -> Server:
    """Its gateway (Rust), taking one worker in turn."""
    port = free_port()
    program = cache / "sglang-router" / "bin" / "smg"
    command = [program, "launch", "--worker-urls", f"http://127.0.0.1:{upstream}"]
    command += ["--policy", "round_robin", "--host", "127.0.0.1", "--port", port]
    return start("sglang-router 0.3.2", command, port, seconds=_PATIENCE_S)


def tensorzero(upstream: int, folder: Path, cache: Path) -> Server:
    """Its gateway (Rust), which its Python package starts on a port of its own choice."""
    config, told = folder / "tensorzero.toml", folder / "tensorzero.url"
    config.write_text(TENSORZERO.format(upstream=upstream))
    process = subprocess.Popen(
        [
            *("taskset", "-c", CORES[0]),
            *map(str, (cache / "tensorzero" / "bin" / "python", __file__, config, told)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if not os.environ.get("SHOW") else None,
    )
    end = time.monotonic() + _PATIENCE_S
    while not told.exists() or not told.read_text():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            raise RuntimeError("its gateway did not start")
        time.sleep(0.1)
    port = int(told.read_text())
    return Server(
        "tensorzero 2026.6.0",
        process,
        port,
        "/openai/v1/chat/completions",
        "tensorzero::model_name::small",
    )


PEERS = {"litellm": litellm, "sglang-router": sglang_router, "tensorzero": tensorzero}


def _host_tensorzero(config: str, told: str) -> None:
    """Run TensorZero's gateway in this process until it is ended."""
    import asyncio

    from tensorzero import tensorzero as native

    async def run() -> None:
        started = native._start_http_gateway(
            config_file=config,
            clickhouse_url=None,
            postgres_url=None,
            valkey_url=None,
            async_setup=True,
        )
        gateway = await started  # it lives as long as this object does
        Path(told).write_text(str(urlsplit(gateway.base_url).port))
        await asyncio.to_thread(signal.pause)

    asyncio.run(run())


if __name__ == "__main__":
    _host_tensorzero(*sys.argv[1:])
