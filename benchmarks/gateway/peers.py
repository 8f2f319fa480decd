"""Other gateways, each from a virtual environment of its own, in the state its makers advise."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from load import KEY, Server, free_port, start

__all__ = ["PEERS"]

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
        env={"LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR"},
    )


def sglang_router(upstream: int, folder: Path, cache: Path) -> Server:
    """Its gateway (Rust), taking one worker in turn."""
    port = free_port()
    program = cache / "sglang-router" / "bin" / "smg"
    command = [program, "launch", "--worker-urls", f"http://127.0.0.1:{upstream}"]
    command += ["--policy", "round_robin", "--host", "127.0.0.1", "--port", port]
    return start("sglang-router 0.3.2", command, port)


def tensorzero(upstream: int, folder: Path, cache: Path) -> Server:
    """Its gateway (Rust), which its Python package starts on a port of its own choice."""
    config, told = folder / "tensorzero.toml", folder / "tensorzero.url"
    config.write_text(TENSORZERO.format(upstream=upstream))
    process = subprocess.Popen(
        [
            *("taskset", "-c", str((os.cpu_count() or 1) - 1)),
            *map(str, (cache / "tensorzero" / "bin" / "python", __file__, config, told)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if not os.environ.get("SHOW") else None,
    )
    end = time.monotonic() + 60
    while not told.exists() or not told.read_text():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            raise RuntimeError("its gateway did not start")
        time.sleep(0.1)
    port = int(json.loads(told.read_text()))
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
            config_file=config, clickhouse_url=None, postgres_url=None, async_setup=True
        )
        url, _alive = await started
        Path(told).write_text(json.dumps(int(str(url).rstrip("/").rpartition(":")[2])))
        await asyncio.to_thread(signal.pause)

    asyncio.run(run())


if __name__ == "__main__":
    _host_tensorzero(*sys.argv[1:])
