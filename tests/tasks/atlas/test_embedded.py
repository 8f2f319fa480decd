import asyncio
from decimal import Decimal

import pytest

from polyroute import Answer, Call, ModelCard, Pool, Price, Route, Trace, run_episode
from polyroute.backends.by_card import ByCard
from polyroute.backends.scripted import Scripted
from polyroute.errors import ConfigError
from polyroute.policies.router_r1 import RouterR1
from polyroute.rewards.router_r1 import RouterR1Reward
from polyroute.tasks.atlas.embedded import OPENINGS, AtlasEmbedded, Embedded
from polyroute.tasks.atlas.optimum import Optimum
from polyroute.tasks.atlas.progress import progress
from polyroute.tasks.atlas.real import Atlas
from polyroute.tasks.atlas.small import AtlasSmall
from polyroute.tasks.atlas.specialists import UNKNOWN
from polyroute.tasks.atlas.teacher import Tags, Teacher

TURNS = 8


def play_all(problems, teacher):
    """Let Router-R1 do what the teacher writes."""
    router = ModelCard(id="router", price=Price())
    policy = RouterR1(router="router", layout="brief", max_turns=TURNS)

    async def play(problem):
        backends = {card.id: problem.backend for card in problem.pool} | {"router": teacher}
        pool = Pool([*problem.pool, router])
        return await run_episode(policy, ByCard(backends), problem.request, pool)

    async def play_each():
        return [await play(problem) for problem in problems]

    return asyncio.run(play_each())


TASKS = (
    AtlasSmall(hops=(1, 2, 3)),
    Atlas(hops=(1, 2, 3)),
    AtlasEmbedded(hops=(1, 2, 3, 4), model="silent"),
)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("style", ["optimum", "cheapest", "random", "mixed", "mended"])
def test_what_a_teacher_writes_router_r1_carries_out(task, style):
    problems = task.problems("train", 8, 0)
    traces = play_all(problems, Teacher(problems, style=style, max_turns=TURNS))
    for problem, trace in zip(problems, traces, strict=True):
        now = progress(problem, trace)
        assert trace.answer == (now.answers[-1] if now.ask is None else UNKNOWN)
        reached = [hop.answer for hop in problem.hops]
        if list(now.answers) == reached:
            assert trace.answer in problem.golds
        own = [reply for reply in trace.replies if reply.model == "router"]
        wrong = [reply for reply in own if reply.fields.get("mistake") == "invalid"]
        turns = len(own) - len(wrong)
        assert turns == len([r for r in trace.replies if r.model != "router"]) + 1


def test_the_tools_know_every_hop_of_every_question():
    problems = AtlasEmbedded(hops=(1, 2, 3, 4), model="silent").problems("test", 25, 0)
    traces = play_all(problems, Teacher(problems, style="cheapest", max_turns=TURNS))
    reward = RouterR1Reward()
    for problem, trace in zip(problems, traces, strict=True):
        terms = reward(trace, problem.golds, metric=problem.metric)
        assert (terms.outcome, terms.format) == (1, 0)
        assert terms.usd <= len(problem.hops) * Decimal("0.000002")


def test_where_nothing_errs_the_optimum_earns_exactly_what_it_expects():
    problems = AtlasEmbedded(model="silent").problems("test", 20, 0)
    traces = play_all(problems, Teacher(problems, style="optimum", max_turns=TURNS))
    for problem, trace in zip(problems, traces, strict=True):
        terms = RouterR1Reward()(trace, problem.golds, metric=problem.metric)
        assert terms.total == pytest.approx(Optimum(problem).value)


def test_spaced_turns_are_read_like_the_others():
    problems = AtlasSmall().problems("train", 20, 0)
    traces = [
        play_all(problems, Teacher(problems, writing=Tags(spaced=spaced), max_turns=TURNS))
        for spaced in (False, True)
    ]
    for one, other in zip(*traces, strict=True):
        assert one.answer == other.answer
        assert [call.prompt for call in one.calls if call.model != "router"] == [
            call.prompt for call in other.calls if call.model != "router"
        ]


def test_a_tool_refuses_what_is_not_its_field_and_a_model_is_asked_itself():
    backend = Embedded(
        {"yes": {"a": "b"}.get}, {"model": Scripted(lambda model, prompt: f"{model} {prompt}")}
    )
    problem = AtlasEmbedded(model="silent").problems("train", 1, 0)[0]
    trace = Trace(problem.request, Pool([ModelCard(id=i) for i in ("yes", "model", "other")]))

    async def ask(model, prompt):
        return await backend.complete(Call(model, prompt), trace)

    assert asyncio.run(ask("yes", "a")).text == "b"
    assert asyncio.run(ask("yes", "c")).failure.kind == "refusal"
    assert asyncio.run(ask("model", "c")).text == "model c"
    assert asyncio.run(ask("other", "c")).text == UNKNOWN
    asyncio.run(backend.close())


def test_the_pool_is_the_one_that_ships():
    problem = AtlasEmbedded(model="silent").problems("train", 1, 0)[0]
    assert problem.pool.ids == ("smollm2", "calculator", "geography", "elements", "calendar")


def test_a_teacher_says_whom_it_cannot_teach():
    problem = AtlasSmall().problems("train", 1, 0)[0]
    trace = play_all([problem], Teacher([]))[0]
    decisions = [step.decision for step in trace.steps]
    assert all(isinstance(decision, Route | Answer) for decision in decisions)
    assert "teaches problems" in trace.replies[0].failure.message


def test_a_number_of_hops_it_does_not_have_is_an_error():
    with pytest.raises(ConfigError, match="1, 2, 3 and 4"):
        AtlasEmbedded(hops=(0,))
    with pytest.raises(ConfigError, match="worth"):
        AtlasEmbedded(worth=())


def test_hops_are_often_of_one_skill_only_where_they_may_be():
    def shares(**how):
        problems = AtlasEmbedded(hops=(2,), model="silent", **how).problems("train", 150, 0)
        return sum(len({hop.skill for hop in p.hops}) == 1 for p in problems) / len(problems)

    # one tool has several skills, so a few are of one tool in any case
    assert shares() < 0.12
    assert shares(alike=1.0) > 0.25
    with pytest.raises(ConfigError, match="share"):
        AtlasEmbedded(alike=1.5)


def test_what_is_tested_is_put_in_ways_that_training_never_hears():
    heard = {}
    for split, openings in OPENINGS.items():
        asked = AtlasEmbedded(model="silent", openings="many").problems(split, 60, 0)
        starts = [opening.partition("{}")[0].lower() for opening in openings]
        for problem in asked:
            prompt = problem.request.prompt
            assert any(prompt.lower().startswith(start) for start in starts)
            assert prompt[0].isupper() or not prompt[0].isalpha()
            assert problem.hops[0].query.split(" of ")[-1] in prompt
        heard[split] = set(openings)
    assert not heard["train"] & (heard["val"] | heard["test"])
    plain = AtlasEmbedded(model="silent").problems("test", 20, 0)
    assert all(problem.request.prompt.startswith("What is the ") for problem in plain)
