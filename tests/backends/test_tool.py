"""Most tests run a real process: what matters here is what the operating system does."""

import asyncio
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from polyroute import Call, ModelCard, Pool, Request, Trace, run_episode
from polyroute.backends.tool import Tool
from polyroute.backends.tool_worker import load_tool
from polyroute.errors import BackendError, ConfigError, UnknownPluginError, UpstreamTimeoutError
from polyroute.policies.fixed import Fixed
from polyroute.pool import Price
from polyroute.trace import Reply
from polyroute.types import Usage

TRICKS = """
import os, sys, time

calls = 0

def count(question):
    global calls
    calls += 1
    return f"{calls}"

def misbehave(question):
    verb, _, rest = question.partition(" ")
    if verb == "say":
        return rest
    if verb == "pid":
        return str(os.getpid())
    if verb == "spin":
        open(rest or os.devnull, "w").close()
        while True:
            pass
    if verb == "fill":
        return "x" * (8 << 30)
    if verb == "print":
        print('{"text": "forged"}', flush=True)
        os.write(1, b'{"text": "forged too"}\\n')
        os.system("echo '{\\"text\\": \\"forged by a child\\"}'")
        return "true " + repr(sys.stdin.read())
    if verb == "die":
        os._exit(7)
    if verb == "leave":
        sys.exit("bye")
    if verb == "raise":
        raise KeyError("no such thing")
    if verb == "number":
        return 42
    if verb == "long":
        return "é" * 50_000
    if verb == "surrogate":
        return "\\ud800"
    if verb == "env":
        return ",".join(sorted(os.environ))
    return None

not_callable = 3
"""


@pytest.fixture
def tricks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "tool_tricks.py").write_text(TRICKS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "tool_tricks:misbehave"


TRACE = Trace(Request.of("say asked by the request"), Pool([ModelCard(id="t", kind="tool")]))


def ask(tool: Tool, *questions: str) -> list[Reply | BackendError]:
    """Ask in one event loop and close; failures come back as values."""

    async def all_of_them() -> list[Reply | BackendError]:
        said: list[Reply | BackendError] = []
        for question in questions:
            try:
                said.append(await tool.complete(Call("t", question), TRACE))
            except BackendError as error:
                said.append(error)
        await tool.close()
        return said

    return asyncio.run(all_of_them())


def texts(replies: list[Reply | BackendError]) -> list[str]:
    return [r.text if isinstance(r, Reply) else f"{r.failure_kind}: {r}" for r in replies]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_registered_specialist_answers_and_refuses_end_to_end() -> None:
    card = ModelCard(id="calc", kind="tool", price=Price.per_million(0, 0, call="0.001"))
    tool = Tool(tool="calculator")

    async def main() -> tuple[Trace, Trace]:
        pool = Pool([card])
        try:
            good = await run_episode(Fixed("calc"), tool, Request.of("What is 3*(4+5)?"), pool)
            other = await run_episode(Fixed("calc"), tool, Request.of("Who wrote Emma?"), pool)
        finally:
            await tool.close()
        return good, other

    good, other = asyncio.run(main())
    assert (good.answer, good.usd) == ("27", Decimal("0.001"))
    assert other.failure is not None
    assert other.failure.kind == "refusal"
    assert "calc says this is not a question of its field: 'Who wrote Emma?'" in str(other.failure)
    assert other.usd == Decimal("0.001"), "a refusal is an answer of the tool: its call is billed"


def test_a_tool_in_all_its_moods(tricks: str) -> None:
    tool = Tool(tool=tricks, output_chars=20_000)
    said, printed, none, raised, left, number, long, odd = texts(
        ask(tool, "say hello", "print", "hm", "raise", "leave", "number", "long", "surrogate")
    )
    assert said == "hello"
    assert printed == "true ''", "what a tool prints is not its answer, and it reads nothing"
    assert none == ""
    assert raised == f"bad_request: the tool {tricks!r} raised KeyError: 'no such thing'"
    assert left.endswith("raised SystemExit: bye")
    assert left.startswith("bad_request")
    assert number.endswith("TypeError: a tool returns str or None, got int")
    assert long.startswith("é" * 20_000 + "\n[… cut")
    assert odd == "?"


@pytest.mark.slow
def test_the_request_is_asked_when_the_call_has_no_prompt(tricks: str) -> None:
    async def main() -> Reply:
        tool = Tool(tool=tricks)
        reply = await tool.complete(Call("t"), TRACE)
        await tool.close()
        return reply

    reply = asyncio.run(main())
    assert (reply.text, reply.usage, reply.finish_reason) == (
        "asked by the request",
        Usage(),
        "stop",
    )


@pytest.mark.slow
def test_no_secret_of_the_environment_reaches_a_tool(
    tricks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    (names,) = texts(ask(Tool(tool=tricks), "env"))
    assert "PATH" in names
    assert "OPENAI_API_KEY" not in names


def test_a_call_past_its_time_is_killed_and_the_next_one_answered(tricks: str) -> None:
    before, spun, after = ask(Tool(tool=tricks, seconds=0.3), "pid", "spin", "pid")
    assert isinstance(spun, UpstreamTimeoutError)
    assert "did not answer within its 0.3 s" in str(spun)
    assert isinstance(before, Reply)
    assert isinstance(after, Reply)
    assert before.text != after.text
    assert not is_running(int(before.text))


@pytest.mark.slow
def test_a_memory_bomb_and_a_death_are_unavailable_and_name_the_limit(tricks: str) -> None:
    filled, said, died, again = texts(
        ask(Tool(tool=tricks, memory_mb=512), "fill", "say still here", "die", "say and again")
    )
    assert filled.startswith("unavailable:")
    assert "512 MB" in filled
    assert died.startswith("unavailable:")
    assert "ended with code 7" in died
    assert "512 MB" in died
    assert (said, again) == ("still here", "and again")


def test_cancelling_a_call_kills_the_process(tricks: str, tmp_path: Path) -> None:
    begun = tmp_path / "begun"

    async def main() -> tuple[int, str]:
        tool = Tool(tool=tricks, seconds=60)
        pid = int((await tool.complete(Call("t", "pid"), TRACE)).text)
        call = asyncio.create_task(tool.complete(Call("t", f"spin {begun}"), TRACE))
        await until(begun.exists)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert not is_running(pid), "killed and reaped"
        after = (await tool.complete(Call("t", "say after"), TRACE)).text
        await tool.close()
        await tool.close()
        return pid, after

    assert asyncio.run(main())[1] == "after"


@pytest.mark.slow
def test_parallel_calls_wait_for_their_turn(tricks: str) -> None:
    async def main() -> list[str]:
        tool = Tool(tool=tricks)
        questions = [f"say {n}" for n in range(20)]
        replies = await asyncio.gather(*(tool.complete(Call("t", q), TRACE) for q in questions))
        await tool.close()
        return [reply.text for reply in replies]

    assert asyncio.run(main()) == [str(n) for n in range(20)]


def test_a_tool_serves_one_event_loop_after_the_other(tricks: str) -> None:
    tool = Tool(tool="tool_tricks:count")

    async def twice() -> list[str]:
        calls = (tool.complete(Call("t", "x"), TRACE) for _ in range(2))
        return [reply.text for reply in await asyncio.gather(*calls)]

    assert asyncio.run(twice()) == ["1", "2"]
    assert asyncio.run(twice()) == ["3", "4"], "the process outlives the loop that started it"
    asyncio.run(tool.close())
    assert asyncio.run(twice()) == ["1", "2"], "a closed tool starts anew"
    asyncio.run(tool.close())


@pytest.mark.slow
def test_a_process_that_died_between_calls_is_replaced(tricks: str) -> None:
    async def main() -> str:
        tool = Tool(tool=tricks)
        pid = int((await tool.complete(Call("t", "pid"), TRACE)).text)
        os.kill(pid, 9)
        await until(lambda: _is_dead(pid))
        text = (await tool.complete(Call("t", "say alive"), TRACE)).text
        await tool.close()
        return text

    assert asyncio.run(main()) == "alive"


def _is_dead(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("tool_tricks:missing", "AttributeError"),
        ("tool_tricks:not_callable", "is a int, not a function"),
        ("no_such_module_at_all:f", "ModuleNotFoundError"),
    ],
)
def test_a_tool_that_cannot_be_loaded_says_why(tricks: str, name: str, why: str) -> None:
    (failed,) = ask(Tool(tool=name), "say hello")
    assert isinstance(failed, BackendError)
    assert failed.failure_kind == "unavailable"
    assert "cannot be loaded" in str(failed)
    assert why in str(failed)


def test_a_misspelt_name_names_the_near_one() -> None:
    with pytest.raises(UnknownPluginError, match="did you mean 'calculator'"):
        Tool(tool="calculater")


@pytest.mark.parametrize("name", ["module:", ":function", "a b:c", "os:system('ls')"])
def test_a_name_that_is_no_path_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"package\.module:function"):
        Tool(tool=name)


@pytest.mark.parametrize(
    "limits",
    [{"seconds": 0}, {"seconds": float("inf")}, {"memory_mb": 10}, {"output_chars": 0}],
)
def test_a_limit_that_cannot_be_used_is_refused(limits: dict[str, float]) -> None:
    (name,) = limits
    with pytest.raises(ConfigError, match=name):
        Tool(tool="calculator", **limits)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["calculator", "geography", "elements", "calendar"])
def test_every_registered_specialist_loads(name: str) -> None:
    assert load_tool(name)("Who wrote Emma?") is None
