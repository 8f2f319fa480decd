"""`polyroute ask`: route one question, show how, keep the record."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import replace

from polyroute.cli.console import err, hint, note, warn, write_answer, write_json
from polyroute.cli.construction import choose, new_id, refuse_unknown_prices, setup_from
from polyroute.cli.exit_codes import ExitCode, leave
from polyroute.cli.lazy import command
from polyroute.cli.ledger_table import ledger_table
from polyroute.cli.narration import summary
from polyroute.cli.options import AsJson, ConfigFile, MaxRounds, MaxUsd, PolicyName
from polyroute.cli.question import read_question
from polyroute.cli.recorded_episode import Ended, RecordedEpisode
from polyroute.types import Message, Request

__all__ = ["app", "ask"]

app = command()


@app.command()
def ask(  # noqa: PLR0913 - one parameter per option
    question: Annotated[
        str | None, typer.Argument(help="The question; standard input when missing or '-'.")
    ] = None,
    policy: PolicyName = None,
    config: ConfigFile = None,
    max_usd: MaxUsd = None,
    max_seconds: Annotated[
        float | None, typer.Option(min=0.001, help="Most seconds, from start to answer.")
    ] = None,
    max_rounds: MaxRounds = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most tokens, all calls together.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The only randomness of a policy.")] = 0,
    system: Annotated[str | None, typer.Option(help="System message before the question.")] = None,
    as_json: AsJson = False,
    no_record: Annotated[bool, typer.Option("--no-record", help="Keep no record.")] = False,
) -> None:
    """Route one question and show who was asked what.

    The answer goes to standard output. What happened (each round, each reply with its tokens,
    dollars and seconds, the ledger) goes to standard error. With --json the whole record goes to
    standard output instead, and nothing else does.
    """
    setup = setup_from(config)
    chosen = choose(policy, setup.specs, setup.pool)
    budget = replace(
        setup.budget,
        usd=setup.budget.usd if max_usd is None else max_usd,
        seconds=max_seconds or setup.budget.seconds,
        rounds=max_rounds or setup.budget.rounds,
        tokens=max_tokens or setup.budget.tokens,
    )
    refuse_unknown_prices(setup.pool, budget)
    messages = (Message("system", system),) if system else ()
    messages = (*messages, Message("user", read_question(question)))
    request = Request(id=new_id(), messages=messages, budget=budget, seed=seed)
    episode = RecordedEpisode(setup, plain=as_json, keep=not no_record)
    ended = asyncio.run(episode.run(chosen, request))
    if as_json:
        write_json(ended.record.to_json())
    else:
        _report(ended, config)
    leave(_exit_code(ended))


def _report(ended: Ended, config: Path | None) -> None:
    """Write the answer, the ledger, and where the record is."""
    trace = ended.trace
    if trace.answer is not None and not ended.delivered:
        write_answer(trace.answer)
    note("")
    err().print(ledger_table(trace))
    note(f"\n{summary(trace)}")
    if ended.kept:
        where = "" if config is None else f" -c {config}"
        note(f"replay this trace: polyroute trace replay{where} {trace.request.id}")
    elif not ended.lost:
        note("no record was kept")
    if trace.answer is None:
        _say_why_not(ended)


def _say_why_not(ended: Ended) -> None:
    failure = ended.trace.failure
    if ended.record.error is not None:
        warn(f"no answer: the policy broke: {ended.record.error}")
        hint("this is a bug of the policy; name another one with --policy")
    elif failure is not None:
        warn(f"no answer ({failure.kind}): {failure.message}")
        if failure.kind in _REMEDIES:
            hint(_REMEDIES[failure.kind])


_REMEDIES = {
    "auth": "polyroute doctor names the variable that the key is read from",
    "budget": "raise the limit: --max-usd, --max-tokens, --max-rounds or --max-seconds",
    "timeout": "raise --max-seconds, or the timeouts of the backend",
    "unavailable": "polyroute doctor probes every endpoint",
}


def _exit_code(ended: Ended) -> ExitCode:
    if ended.trace.answer is None:
        return ExitCode.FAILED
    return ExitCode.RECORDS if ended.lost else ExitCode.OK
