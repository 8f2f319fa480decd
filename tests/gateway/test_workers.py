"""Several processes on one port, and the one that looks after them."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

CONFIG = """\
pool:
  - id: small
    backend: {{name: openai, instances: [{{url: "http://127.0.0.1:9/v1"}}]}}
policy: {{name: fixed, model: small}}
records: {{store: none}}
server: {{port: {port}, workers: 2}}
"""


def children(pid):
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    lines = {int(each): Path(f"/proc/{each}/cmdline").read_bytes() for each in listed}
    return {each for each, line in lines.items() if b"spawn_main" in line}


def until(what, seconds=300):
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return found


def lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def served(tmp_path, free_port):
    config = tmp_path / "polyroute.yaml"
    config.write_text(CONFIG.format(port=free_port))
    log = tmp_path / "log"
    program = Path(sys.executable).parent / "polyroute"
    with log.open("w") as said:
        process = subprocess.Popen(
            [program, "serve", "--config", config], stdout=said, stderr=subprocess.STDOUT
        )
    try:
        until(lambda: log.read_text().count("startup complete") == 2 or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        yield process, free_port, log
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def free_port():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.mark.slow
def test_a_worker_that_dies_is_started_again_and_all_end_together(served):
    process, port, log = served
    first = children(process.pid)
    assert len(first) == 2
    assert "counts for itself is no limit" in log.read_text()
    killed = min(first)
    os.kill(killed, signal.SIGKILL)
    until(lambda: len(children(process.pid) - {killed}) == 2)
    until(lambda: log.read_text().count("startup complete") == 3)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=120) as answer:
        assert json.load(answer)["status"] == "ok"
    second = children(process.pid)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 0
    until(lambda: not any(map(lives, first | second)))


def models(port):
    """What some worker says that it serves, on a connection of its own."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=120) as answer:
        return {one["id"] for one in json.load(answer)["data"]}


@pytest.mark.slow
def test_a_worker_that_takes_another_s_place_serves_what_the_others_have_reloaded(served, tmp_path):
    process, port, log = served
    config = tmp_path / "polyroute.yaml"
    config.write_text(config.read_text().replace("small", "other"))
    process.send_signal(signal.SIGHUP)
    until(lambda: log.read_text().count("the new configuration serves") == 2)
    first = children(process.pid)
    for pid in first:
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(children(process.pid) - first) == 2)
    until(lambda: log.read_text().count("the new configuration serves") == 4)
    assert all("other" in models(port) and "small" not in models(port) for _ in range(8))


@pytest.mark.slow
def test_workers_end_when_the_one_that_started_them_is_killed(served):
    process, _, _ = served
    left = children(process.pid)
    process.kill()
    process.wait()
    until(lambda: not any(map(lives, left)))


def test_workers_that_cannot_start_end_the_server_with_their_status():
    program = (
        "from polyroute.gateway.workers import supervise\n"
        "if __name__ == '__main__': supervise(exit, {'code': 3}, count=2)"
    )
    program = program.replace("exit, {'code': 3}", "__import__('os')._exit, {'status': 3}")
    done = subprocess.run([sys.executable, "-c", program], timeout=300, check=False)
    assert done.returncode == 3
