import asyncio
import math
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyroute import Budget, Call, ModelCard, Pool, Price, Request, Trace, run_episode
from polyroute.backends.replay import Replay, TextIndex
from polyroute.errors import BackendError, ConfigError
from polyroute.outcomes import OutcomeTable, read_outcomes
from polyroute.policies.fixed import Fixed

TINY = Path(__file__).parents[1] / "data/replay_tiny.jsonl.gz"

TABLE = OutcomeTable.of(
    [
        {"query_id": "france", "prompt": "What is the capital of France?"},
        {"query_id": "sum", "prompt": "2 + 2?"},
        {"query_id": "peak", "prompt": "How high is Mount Everest?"},
    ],
    [
        {"query_id": "france", "model": "small", "sample": k, "score": 1, "response_text": text}
        for k, text in enumerate(["Paris", "Lyon", "Paris."])
    ]
    + [
        {"query_id": "france", "model": "big-2026", "score": 1, "response_text": "It is Paris.",
         "prompt_tokens": 10, "completion_tokens": 4, "cost_usd": 0.00015, "latency_s": 1.5},
        {"query_id": "sum", "model": "small", "score": 1, "pred": "4"},
        {"query_id": "peak", "model": "small", "score": 0, "prompt_tokens": 9,
         "completion_tokens": 80, "cost_usd": 0.002},
        {"query_id": "peak", "model": "big-2026", "score": 1, "response_text": "8,849 m",
         "prompt_tokens": 9, "completion_tokens": 6},
    ],
)  # fmt: skip

POOL = Pool(
    [
        ModelCard(id="small", price=Price.per_million(1, 2)),
        ModelCard(id="big", price=Price.per_million(10, 20), aliases=("big-2026",)),
        ModelCard(id="smal"),
    ]
)


def ask(replay, model, prompt, *, request_seed=0, **params):
    request = Request(id="q", messages=Request.of(prompt).messages, seed=request_seed)
    return asyncio.run(replay.complete(Call(model, params=params), Trace(request, POOL)))


def test_the_same_question_gives_the_recorded_answer_with_its_bill():
    reply = ask(Replay.of(TABLE), "big", "What is  the capital\nof France?")
    assert reply.text == "It is Paris."
    assert reply.usd == Decimal("0.00015")
    assert (reply.usage.prompt, reply.usage.completion) == (10, 4)
    assert (reply.seconds, reply.similarity) == (1.5, 1.0)
    assert reply.fields == {"recording": {"query_id": "france", "sample": 0}}


def test_a_sub_query_is_looked_up_by_its_own_text():
    trace = Trace(Request.of("something else"), POOL)
    reply = asyncio.run(Replay.of(TABLE).complete(Call("small", "2 + 2?"), trace))
    assert reply.text == "4"  # the extracted answer, where the text was not kept


def test_without_a_recorded_price_the_loop_prices_the_recorded_usage():
    request = Request.of("How high is Mount Everest?")
    trace = asyncio.run(run_episode(Fixed("big"), Replay.of(TABLE), request, POOL))
    assert trace.answer == "8,849 m"
    assert trace.usd == POOL.card("big").price.cost(trace.usage) == Decimal("0.00021")


def test_an_answer_that_was_not_kept_is_a_failure_with_its_recorded_price():
    request = Request.of("How high is Mount Everest?")
    trace = asyncio.run(run_episode(Fixed("small"), Replay.of(TABLE), request, POOL))
    assert trace.answer is None
    assert trace.failure.kind == "invalid_reply"
    assert trace.usd == Decimal("0.002")


def test_three_consecutive_seeds_give_three_different_samples():
    question = "What is the capital of France?"
    replay = Replay.of(TABLE)
    for start in (0, 3, 7, 2**31):
        by_call = {ask(replay, "small", question, seed=start + k).text for k in range(3)}
        by_request = {ask(replay, "small", question, request_seed=start + k).text for k in range(3)}
        assert by_call == by_request == {"Paris", "Lyon", "Paris."}


def test_a_fixed_sample_is_given_whatever_the_seed():
    replay = Replay.of(TABLE, sample=1)
    texts = {ask(replay, "small", "What is the capital of France?", seed=s).text for s in range(5)}
    assert texts == {"Lyon"}
    with pytest.raises(BackendError, match=r"no sample 1 was recorded, only \[0\]"):
        ask(replay, "big", "What is the capital of France?")


def test_another_question_is_answered_only_when_that_is_allowed():
    with pytest.raises(BackendError, match="to this very question") as caught:
        ask(Replay.of(TABLE), "small", "the capital of France")
    assert caught.value.failure_kind == "unavailable"
    reply = ask(Replay.of(TABLE, nearest=0.5), "small", "the capital of France")
    assert reply.text == "Paris"
    assert 0.5 < reply.similarity < 1
    with pytest.raises(BackendError, match=r"has similarity 0\.\d\d, and 0.95 is wanted"):
        ask(Replay.of(TABLE, nearest=0.95), "small", "the capital of France")


def test_only_questions_that_the_model_has_answered_are_near():
    replay = Replay.of(TABLE, nearest=0.0)
    assert ask(replay, "big", "2 + 2?").fields["recording"]["query_id"] != "sum"


def test_an_unknown_model_names_the_near_ones():
    with pytest.raises(BackendError, match=r"no model 'smal'.*near: 'small'"):
        ask(Replay.of(TABLE), "smal", "2 + 2?")


def test_a_similarity_outside_0_to_1_is_refused():
    with pytest.raises(ConfigError, match=r"from 0 to 1, got 1.5"):
        Replay.of(TABLE, nearest=1.5)


def test_a_recording_longer_than_the_call_allows_is_not_cut():
    with pytest.raises(BackendError, match="has 4 tokens, and this call allows 3"):
        ask(Replay.of(TABLE), "big", "What is the capital of France?", max_tokens=3)


@pytest.mark.parametrize("usd", ["0.0000001", "0.00014", "0.001", "0.1"])
def test_recordings_keep_to_the_budget(usd):
    pool = Pool([ModelCard(id="big-2026", price=Price.per_million("0.1", "0.1"), context=1000)])
    budget = Budget(usd=Decimal(usd))
    request = Request.of("What is the capital of France?", budget=budget)
    trace = asyncio.run(run_episode(Fixed("big-2026"), Replay.of(TABLE), request, pool))
    assert trace.usd <= budget.usd
    assert trace.failure is not None  # the recorded price is far above what the card says


def test_the_tiny_table_replays_every_answer_it_has():
    table = read_outcomes(TINY)
    replay = Replay(table=str(TINY))
    pool = Pool([ModelCard(id=name) for name in table.models])
    for row in range(len(table.responses)):
        question = table.queries[table.responses.query[row]]
        call = Call(table.models[table.responses.model[row]])
        trace = Trace(Request.of(question.prompt), pool)
        reply = asyncio.run(replay.complete(call, trace))
        assert reply.text == table.texts[row]


def reference_similarity(texts, text):
    """TF-IDF cosine of character trigrams, written with dictionaries."""

    def grams(one):
        padded = f" {' '.join(one.split()).lower()} "
        return Counter(padded[k : k + 3] for k in range(len(padded) - 2))

    documents = [grams(one) for one in texts]
    df = Counter(gram for document in documents for gram in document)

    def vector(counts):
        weights = {
            gram: (1 + math.log(n)) * (1 + math.log((1 + len(texts)) / (1 + df[gram])))
            for gram, n in counts.items()
        }
        norm = math.sqrt(sum(w * w for w in weights.values())) or 1.0
        return {gram: w / norm for gram, w in weights.items()}

    query = vector(grams(text))
    return [
        sum(query.get(gram, 0.0) * w for gram, w in vector(document).items())
        for document in documents
    ]


words = st.text("abc dé🙂\n", max_size=12)


@given(st.lists(words, min_size=1, max_size=6), words)
def test_the_index_equals_a_dictionary_implementation(texts, text):
    got = TextIndex(texts).similarities(text)
    assert got.tolist() == pytest.approx(reference_similarity(texts, text))


@given(st.lists(words.filter(str.strip), min_size=1, max_size=6), st.data())
def test_a_text_of_the_index_is_most_like_itself(texts, data):
    k = data.draw(st.integers(0, len(texts) - 1))
    assert TextIndex(texts).similarities(texts[k])[k] == pytest.approx(1.0)
