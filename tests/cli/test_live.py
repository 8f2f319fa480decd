"""The view on a terminal, with both streams declared to be one."""

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest

from polyroute.cli.construction import choose, setup_from
from polyroute.cli.recorded_episode import RecordedEpisode
from polyroute.types import Request


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr("polyroute.cli.live.is_live", lambda: True)


@pytest.mark.usefixtures("terminal")
def test_a_streamed_answer_is_written_once(run):
    result = run("ask", "-p", "b", "hello")
    assert result.stdout == "b heard: hello\n"
    assert result.exit_code == 0


@pytest.mark.usefixtures("terminal")
def test_an_answer_that_is_not_streamed_is_written_at_the_end(run, configure, says):
    configure(policy={"name": "cascade", "order": ["a", "b"], "accept": "says:accept"})
    assert run("ask", "hello").stdout == "a heard: hello\n"


@pytest.mark.usefixtures("terminal")
def test_a_reply_cannot_drive_the_terminal(run, configure, card):
    configure(pool=[card("a"), card("b", "red")])
    result = run("ask", "-p", "b", "hello")
    assert "red" in result.stdout
    assert "\x1b" not in result.stdout


def test_a_pipe_gets_the_reply_as_it_is(run, configure, card):
    configure(pool=[card("a"), card("b", "red")])
    result = run("ask", "-p", "b", "hello")
    assert result.stdout == "\x1b[31mred\x1b[0m\n"
    assert "\x1b" not in result.stderr


def test_a_cancelled_episode_leaves_a_cancelled_record(run, configure, card, tmp_path):
    path = configure(pool=[card("a"), card("b", latency_s="says:slowly")])
    setup = setup_from(path)
    episode = RecordedEpisode(setup, plain=True, keep=True)

    async def cancel_while_it_waits():
        chosen = choose("b", setup.specs, setup.pool)
        task = asyncio.create_task(episode.run(chosen, Request.of("hello", id="t-1")))
        while not any("asks b" in line for line in said):
            await asyncio.sleep(0)
        task.cancel()
        await task

    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("polyroute.cli.live.note", said.append)
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(cancel_while_it_waits())
    (line,) = (tmp_path / "records" / "r.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert record["status"] == "cancelled"
    assert record["steps"][0]["replies"][0]["failure"]["kind"] == "cancelled"


@pytest.mark.slow
def test_an_interrupt_is_exit_code_130_and_a_cancelled_record(configure, card, tmp_path):
    path = configure(pool=[card("a"), card("b", latency_s="says:slowly")])
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = f"{heard}; from polyroute.cli import main; main()"
    asking = subprocess.Popen(
        [sys.executable, "-c", program, "ask", "-c", str(path), "-p", "b", "hello"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with asking:
        assert "asks b" in asking.stderr.readline()
        asking.send_signal(signal.SIGINT)
        stdout, stderr = asking.communicate(timeout=60)
    assert asking.returncode == 130
    assert stdout == ""
    assert "cancelled" in stderr
    assert "Traceback" not in stderr
    record = json.loads((tmp_path / "records" / "r.jsonl").read_text())
    assert record["status"] == "cancelled"
