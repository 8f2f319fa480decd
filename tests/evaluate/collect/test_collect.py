import asyncio
import json
from decimal import Decimal

import pytest

from polyroute.backends.scripted import Scripted
from polyroute.errors import BackendError, ConfigError, RefusalError
from polyroute.evaluate.collect import Capped, Output, by_judge, by_metric, collect
from polyroute.evaluate.llm_judge import Judge
from polyroute.outcomes import Question, read_outcomes
from polyroute.pool import ModelCard, Pool, Price

POOL = Pool(
    ModelCard(id=name, price=Price.per_million(1_000, 1_000), max_output=20) for name in ("a", "b")
)
QUESTIONS = [
    Question(query_id=f"q{k}", prompt=f"{k} + {k}?", gold=(str(2 * k),), metric="number")
    for k in range(6)
]


def answer(model, prompt):
    k = int(prompt.split()[0])
    return f"it is {2 * k if model == 'a' else k}"


def gather(path, say=answer, *, usd=None, questions=QUESTIONS, latency=None, **more):
    async def main():
        backend = Capped(Scripted(say, latency), POOL, usd)
        with Output(path, questions) as output:
            return await collect(
                questions, POOL, backend, output, by_metric(None, questions), **more
            )

    return asyncio.run(main())


def test_every_card_answers_every_question_and_is_scored(tmp_path):
    state = gather(tmp_path / "t")
    table = read_outcomes(tmp_path / "t")
    assert (state.new, state.missing) == (12, 0)
    assert [question.gold for question in table.queries] == [q.gold for q in QUESTIONS]
    scores = dict(zip(table.models, table.scores_NM().mean(axis=0), strict=True))
    assert scores == {"a": 1.0, "b": pytest.approx(1 / 6)}  # 0 + 0 is 0
    usd = sum(table.responses.usd(row) for row in range(12))
    assert usd == state.usd > 0


def test_what_is_there_is_not_asked_again(tmp_path):
    asked = []

    def say(model, prompt):
        asked.append((model, prompt))
        return answer(model, prompt)

    gather(tmp_path / "t.jsonl", say, questions=QUESTIONS[:2])
    state = gather(tmp_path / "t.jsonl", say)
    assert (state.present, state.new) == (4, 8)
    assert len(asked) == len(set(asked)) == 12


def test_failures_are_no_rows_and_refusals_score_nothing(tmp_path):
    def say(model, prompt):
        if model == "a" and prompt.startswith("3"):
            raise BackendError("down")
        if model == "b":
            raise RefusalError("not mine")
        return answer(model, prompt)

    state = gather(tmp_path / "t", say)
    assert state.failures == {"unavailable": 1}
    assert state.missing == 1
    table = read_outcomes(tmp_path / "t")
    refused = table.responses.model == table.models.index("b")
    assert table.responses.score[refused].tolist() == [0.0] * 6
    assert gather(tmp_path / "t").new == 1


@pytest.mark.parametrize("cents", [0, 5, 13])
def test_the_money_is_never_exceeded_however_many_calls_run_at_once(tmp_path, cents):
    usd = Decimal(cents) / 100
    state = gather(tmp_path / "t", usd=usd, latency=lambda model: 0.001, concurrency=6)
    table = read_outcomes(tmp_path / "t")
    paid = sum((table.responses.usd(row) for row in range(len(table.responses))), Decimal(0))
    assert paid == state.usd <= usd
    assert state.failures["budget"] > 0
    assert state.missing > 0
    # what is left could not pay for the worst case of one more call: 0.02 for 20 tokens, and more
    # for the prompt
    assert usd - paid < Decimal("0.02") + Decimal("0.1")


def test_money_that_is_set_aside_is_waited_for(tmp_path):
    # one worst case at a time: two would not fit, and still all are asked
    state = gather(tmp_path / "t", usd=Decimal("0.25"), latency=lambda model: 0.001)
    assert (state.missing, state.failures.total()) == (0, 0)


def test_a_cancelled_run_keeps_what_was_answered(tmp_path):
    async def main():
        scored = 0
        running = asyncio.Event()
        inner = by_metric(None, QUESTIONS)

        async def slow(question, text):
            nonlocal scored
            running.set()
            await asyncio.sleep(0.02)
            scored += 1
            return await inner(question, text)

        backend = Capped(Scripted(answer), POOL, None)
        with Output(tmp_path / "t", QUESTIONS) as output:
            task = asyncio.create_task(
                collect(QUESTIONS, POOL, backend, output, slow, concurrency=2)
            )
            await running.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        return scored

    scored = asyncio.run(main())
    rows = len(read_outcomes(tmp_path / "t").responses)
    assert rows == scored == 4  # two cards, two calls at a time: answered, so kept
    assert gather(tmp_path / "t").new == 8


def test_a_row_that_was_cut_is_asked_again(tmp_path):
    gather(tmp_path / "t")
    path = tmp_path / "t.responses.jsonl"
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    state = gather(tmp_path / "t")
    assert (state.present, state.new) == (11, 1)
    assert len(read_outcomes(tmp_path / "t").responses) == 12


def test_samples_are_numbered(tmp_path):
    gather(tmp_path / "t", samples=3)
    table = read_outcomes(tmp_path / "t")
    assert len(table.responses) == 36
    assert set(table.responses.sample.tolist()) == {0, 1, 2}


def test_two_runs_do_not_write_to_one_table(tmp_path):
    with Output(tmp_path / "t", []), pytest.raises(ConfigError, match="another run"):
        Output(tmp_path / "t", []).__enter__()


def test_another_prompt_under_a_known_id_is_refused(tmp_path):
    gather(tmp_path / "t")
    other = [Question(query_id="q0", prompt="another?", metric="number")]
    with pytest.raises(ConfigError, match="'q0'"):
        gather(tmp_path / "t", questions=other)


def test_a_damaged_row_is_named(tmp_path):
    gather(tmp_path / "t")
    path = tmp_path / "t.responses.jsonl"
    path.write_text("{}\n" + path.read_text())
    with pytest.raises(ConfigError, match=r"t.responses.jsonl, row 1"):
        gather(tmp_path / "t")


def test_an_unknown_metric_is_found_before_anything_is_asked():
    with pytest.raises(ConfigError, match=r"'bleu'.*'q0'"):
        by_metric("bleu", QUESTIONS)


def test_a_question_without_gold_is_not_judged(tmp_path):
    gather(tmp_path / "t", questions=[Question(query_id="q", prompt="1 + 1?", metric="f1")])
    rows = (tmp_path / "t.responses.jsonl").read_text().splitlines()
    assert [json.loads(row)["score"] for row in rows] == [None, None]


def test_a_judge_is_paid_from_the_same_money(tmp_path):
    def say(model, prompt):
        return "verdict: same" if "<answer_1>" in prompt else answer(model, prompt)

    async def main(usd):
        backend = Capped(Scripted(say), POOL, usd)
        judge = by_judge(Judge(model="b", pool=POOL, backend=backend))
        with Output(tmp_path / f"t{usd}", QUESTIONS) as output:
            await collect(QUESTIONS, POOL.only(["a"]), backend, output, judge)
        return read_outcomes(tmp_path / f"t{usd}").responses.score

    assert asyncio.run(main(None)).tolist() == [1.0] * 6
    poor = asyncio.run(main(Decimal("0.5")))
    assert len(poor) > 0
    assert all(score != score for score in poor)  # answers were kept, judging did not fit


def test_a_call_that_takes_too_long_is_a_failure(tmp_path):
    async def main():
        backend = Capped(Scripted(answer, lambda model: 5.0), POOL, Decimal(1), seconds=0.01)
        with Output(tmp_path / "t", QUESTIONS[:1]) as output:
            score = by_metric(None, QUESTIONS)
            return await collect(QUESTIONS[:1], POOL, backend, output, score)

    assert asyncio.run(main()).failures == {"timeout": 2}
