import asyncio
import itertools
import re
from collections import Counter
from decimal import Decimal
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyroute import Answer, Call, ModelCard, Pool, Route, Trace, run_episode
from polyroute.backends.by_card import ByCard
from polyroute.errors import ConfigError
from polyroute.policies.router_r1.prompt import state
from polyroute.tasks.atlas.optimum import Optimum
from polyroute.tasks.atlas.progress import progress
from polyroute.tasks.atlas.small import (
    EITHER,
    ENTITIES,
    HELD_PAIR,
    NAMES,
    RELATIONS,
    WORTH,
    AtlasSmall,
    vocabulary,
)
from polyroute.tasks.atlas.specialists import ADMITS, ANYTHING, UNKNOWN, quality
from polyroute.tasks.atlas.teacher import Teacher
from polyroute.types import Budget

dealt = partial(AtlasSmall, roles="dealt")
"""The world in which names say nothing."""

VARIANTS = (
    "plain",
    "unseen_entities",
    "unseen_relation",
    "unseen_specialists",
    "swapped_descriptors",
    "changed_prices",
    "failing_specialist",
)
SPLITS = ("train", "val", "test")


class Driven:
    """Carry out what the card "router" writes in tags."""

    async def decide(self, trace):
        last = trace.steps[-1] if trace.steps else None
        if last is not None and isinstance(last.decision, Route) and last.decision.own:
            text = last.replies[0].text
            if found := re.search(r"<answer>(.*)</answer>", text):
                return Answer(text=found[1])
            found = re.search(r"<search>(\S+): (.*)</search>", text)
            if found and found[1] in trace.pool:
                return Route(calls=(Call(found[1], found[2]),))
        return Route(calls=(Call("router", ""),), own=True)


def play_all(problems, teacher):
    async def play(problem):
        backend = ByCard({card.id: problem.backend for card in problem.pool} | {"router": teacher})
        pool = Pool([*problem.pool, ModelCard(id="router")])
        return await run_episode(Driven(), backend, problem.request, pool)

    async def play_each():
        return [await play(problem) for problem in problems]

    return asyncio.run(play_each())


def play(problem, teacher):
    return play_all([problem], teacher)[0]


def reward(problem, trace):
    spent = sum((reply.usd or Decimal(0) for reply in trace.replies), Decimal(0))
    cost = min(1.0, float(spent) / problem.request.budget.usd_per_quality)
    return (trace.answer in problem.golds) - cost


def ask(problem, model, query):
    trace = Trace(problem.request, problem.pool)
    coroutine = problem.backend.complete(Call(model, query), trace)
    with pytest.raises(StopIteration) as ended:  # it waits for nothing, so it needs no loop
        coroutine.send(None)
    return ended.value.value.text


def words_of(text):
    return re.findall(r"</?\w+>|\w+|[^\w\s]", text)


def test_the_same_arguments_give_the_same_problems_and_a_longer_draw_begins_with_a_shorter():
    first, again = (dealt().problems("train", n, 3) for n in (20, 40))
    for one, other in zip(first, again, strict=False):
        assert one.request == other.request
        assert one.pool == other.pool
        assert one.hops == other.hops
        assert [ask(one, c.id, one.hops[0].query) for c in one.pool] == [
            ask(other, c.id, other.hops[0].query) for c in other.pool
        ]
    assert dealt().problems("train", 1, 4)[0].request != first[0].request


def test_facts_and_pools_change_with_the_episode():
    problems = dealt(hops=(1,)).problems("train", 400, 0)
    by_question = {}
    for problem in problems:
        by_question.setdefault(problem.request.prompt, set()).add(problem.golds)
    assert any(len(golds) > 1 for golds in by_question.values())
    assert len({problem.pool.digest for problem in problems}) == len(problems)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_word_of_an_episode_is_in_the_vocabulary(variant):
    known = set(vocabulary())
    assert len(known) == len(vocabulary())
    problems = dealt(hops=(1, 2, 3), variant=variant).problems("test", 40, 0)
    teacher = Teacher(problems, style="mixed")
    for problem in problems:
        trace = play(problem, teacher)
        texts = [problem.request.prompt, *(" ".join([c.id, *c.skills]) for c in problem.pool)]
        texts += [f"{c.price.call * 1_000_000:.0f}" for c in problem.pool]
        texts += [reply.text for reply in trace.replies]
        assert set().union(*map(set, map(words_of, texts))) <= known


@pytest.mark.parametrize("split", SPLITS)
def test_following_the_hops_with_who_knows_leads_to_the_gold(split):
    for problem in dealt(hops=(1, 2, 3)).problems(split, 60, 1):
        answer = ""
        for hop in problem.hops:
            query = hop.query.format(answer)
            answer = hop.answer
            sure = {c.id for c in problem.pool if quality(c, hop.skill) == 1}
            right = sure - problem.backend.failing
            assert {ask(problem, model, query) for model in right} <= {hop.answer}
        assert problem.golds == (answer,)


@given(st.integers(0, 2**32), st.sampled_from(SPLITS), st.sampled_from(SPLITS))
@settings(max_examples=20, deadline=None)
def test_no_question_is_in_two_splits(seed, one, other):
    task = dealt(hops=(1, 2, 3))
    questions = [
        {problem.request.prompt for problem in task.problems(split, 25, seed)}
        for split in (one, other)
    ]
    assert one == other or not questions[0] & questions[1]


def test_one_pair_of_relations_is_never_chained_but_where_it_is_asked_for():
    def pairs(variant, split):
        problems = dealt(hops=(2, 3), variant=variant).problems(split, 300, 0)
        chains = [[hop.skill for hop in problem.hops] for problem in problems]
        return {pair for chain in chains for pair in itertools.pairwise(chain)}

    assert HELD_PAIR not in pairs("plain", "train") | pairs("plain", "test")
    assert pairs("unseen_relation", "test") == {HELD_PAIR}
    every = set(itertools.permutations(RELATIONS, 2)) - {HELD_PAIR}
    assert pairs("plain", "train") == every


def test_every_whole_pool_has_a_reliable_generalist_mostly_dear_and_a_cheap_unreliable_one():
    usual = whole = 0
    for problem in dealt().problems("train", 400, 0):
        if len(problem.pool) < 5:
            continue
        whole += 1
        generalists = [card for card in problem.pool if ANYTHING in card.skills]
        good, bad = sorted(generalists, key=lambda card: -card.skills[ANYTHING])
        assert good.skills[ANYTHING] == 0.95
        assert bad.skills[ANYTHING] <= 0.6
        prices = sorted(card.price.call * 1_000_000 for card in problem.pool)
        assert prices[0] == 1
        assert prices[-1] in {6, 7, 8}
        assert set(prices[1:-1]) <= {2, 3, 4}
        usual += good.price.call == max(card.price.call for card in problem.pool)
    # one in four is dealt its prices anew, and of those a fifth or more get the usual dearest
    assert 0.72 < usual / whole < 0.88


def test_in_a_quarter_of_the_questions_of_training_only_some_are_there_down_to_one():
    sizes = Counter(len(problem.pool) for problem in dealt().problems("train", 800, 0))
    assert set(sizes) == {1, 2, 3, 4, 5}
    assert 0.70 < sizes[5] / 800 < 0.80
    assert all(sizes[size] > 20 for size in (1, 2, 3, 4))  # 50 expected of each
    assert {len(p.pool) for split in ("val", "test") for p in dealt().problems(split, 50, 0)} == {5}


@pytest.mark.slow
def test_specialists_are_right_as_often_as_their_cards_say():
    asked = {"right": 0, "wrong": 0, UNKNOWN: 0}
    for problem in dealt(hops=(1,)).problems("train", 900, 0):
        card = next((c for c in problem.pool if c.skills.get(ANYTHING) == 0.6), None)
        if card is None:
            continue
        said = ask(problem, card.id, problem.hops[0].query)
        kind = UNKNOWN if said == UNKNOWN else "right" if said in problem.golds else "wrong"
        asked[kind] += 1
    n = sum(asked.values())
    spread = 4 * (0.25 / n) ** 0.5
    assert abs(asked["right"] / n - 0.6) < spread
    assert abs(asked[UNKNOWN] / n - 0.4 * ADMITS) < spread


def test_who_does_not_know_the_relation_says_so_and_nobody_answers_two_hops_at_once():
    for problem in dealt(hops=(2,)).problems("train", 60, 0):
        for card in problem.pool:
            assert ask(problem, card.id, problem.request.prompt) == UNKNOWN
            if not quality(card, problem.hops[0].skill):
                assert ask(problem, card.id, problem.hops[0].query) == UNKNOWN


def test_swapped_descriptors_keep_the_question_and_the_cards_stay_true():
    plain = dealt().problems("test", 40, 0)
    swapped = dealt(variant="swapped_descriptors").problems("test", 40, 0)
    for one, other in zip(plain, swapped, strict=True):
        assert one.request.prompt == other.request.prompt
        assert one.pool.ids == other.pool.ids
        assert sorted(c.description for c in one.pool) == sorted(c.description for c in other.pool)
        sure = [c for c in other.pool if quality(c, other.hops[0].skill) == 1]
        assert all(ask(other, c.id, other.hops[0].query) == other.hops[0].answer for c in sure)


def test_unseen_words_are_those_of_the_other_kind():
    for problem in dealt(variant="unseen_entities").problems("test", 30, 0):
        assert {problem.request.prompt[:-1].split()[-1], *problem.golds} <= set(NAMES)
        assert not {*problem.golds} & set(problem.pool.ids)
    for problem in dealt(variant="unseen_specialists").problems("test", 30, 0):
        assert set(problem.pool.ids) <= set(ENTITIES)
        assert not {problem.request.prompt[:-1].split()[-1], *problem.golds} & set(problem.pool.ids)


def test_most_words_are_an_entity_in_one_episode_and_a_name_in_another_and_some_never():
    names, entities = set(), set()
    for problem in dealt().problems("train", 600, 0):
        spoken = {problem.request.prompt[:-1].split()[-1], *(hop.answer for hop in problem.hops)}
        assert not spoken & set(problem.pool.ids)
        names |= set(problem.pool.ids)
        entities |= spoken
    assert names - entities >= set(NAMES)
    assert entities - names >= set(ENTITIES)
    assert len(names & entities & set(EITHER)) > 0.9 * len(EITHER)
    unseen = dealt(variant="unseen_entities").problems("test", 50, 0)
    assert {p.golds[0] for p in unseen} <= names - entities
    unseen = dealt(variant="unseen_specialists").problems("test", 50, 0)
    assert {id for p in unseen for id in p.pool.ids} <= entities - names


def test_a_prompt_says_every_amount_of_training_as_it_is_and_knows_the_word_for_those_between():
    def said(millionths):
        left = state(Budget(usd_per_quality=millionths / 1e6), None, 1, layout="brief")
        return left.removeprefix("rounds 1 worth ")

    assert [said(worth) for worth in WORTH] == [str(worth) for worth in WORTH]
    between = [said(worth / 10) for worth in range(30, 631)]
    assert set(between) == {str(worth) for worth in WORTH}
    assert [int(word) for word in between] == sorted(int(word) for word in between)


def test_in_a_tenth_of_the_questions_of_training_somebody_fails_and_in_no_other():
    fail = [bool(p.backend.failing) for p in dealt().problems("train", 600, 0)]
    assert 0.05 < sum(fail) / 600 < 0.14  # of the tenth, some have nobody who could
    assert not any(p.backend.failing for s in ("val", "test") for p in dealt().problems(s, 50, 0))


@pytest.mark.slow
def test_a_failing_specialist_is_one_the_optimum_would_have_asked():
    plain = dealt().problems("test", 100, 0)
    failing = dealt(variant="failing_specialist").problems("test", 100, 0)
    before, after = (
        sum(map(reward, problems, play_all(problems, Teacher(problems, style="optimum"))))
        for problems in (plain, failing)
    )
    assert after < before


def values_of_all_plans(options, hops, state, worth):
    """Every value that a policy can have, by listing every policy."""
    hop, tried, spent, right = state
    cost = min(1.0, spent / worth)
    if hop == hops:
        return {right - cost}
    values = {-cost}
    for name, (usd, replies, sure) in options[hop].items():
        if name in tried:
            continue
        known = (hop + 1, (), spent + usd, right * sure)
        unknown = (hop, (*tried, name), spent + usd, right)
        for one in values_of_all_plans(options, hops, known, worth):
            for other in values_of_all_plans(options, hops, unknown, worth):
                values.add(replies * one + (1 - replies) * other)
    return values


@pytest.mark.parametrize("seed", range(4))
def test_the_optimum_is_the_best_of_all_policies(seed):
    task = dealt(hops=(1, 2))
    some = task.problems("train", 20, seed)
    for problem in [p for p in some if any(ANYTHING in card.skills for card in p.pool)][:6]:
        pool = Pool([c for c in problem.pool if ANYTHING in c.skills])
        options = []
        for _ in problem.hops:
            options.append({})
            for card in pool:
                right = card.skills[ANYTHING]
                replies = right + (1 - right) * (1 - ADMITS)
                options[-1][card.id] = (float(card.price.call), replies, right / replies)
        best = max(
            values_of_all_plans(
                options, len(options), (0, (), 0.0, 1.0), problem.request.budget.usd_per_quality
            )
        )
        small = type(problem)(
            request=problem.request, pool=pool, backend=problem.backend, golds=problem.golds,
            metric="", kind="", hops=problem.hops,
        )  # fmt: skip
        assert Optimum(small).value == pytest.approx(best)


def test_the_optimum_expects_what_its_best_step_does_and_no_step_more():
    steps = 0
    for problem in dealt().problems("test", 60, 1):
        optimum = Optimum(problem)
        trace = play(problem, Teacher([problem], style="mended"))
        for k in range(len(trace.steps)):
            now = progress(problem, Trace(trace.request, trace.pool, trace.steps[:k]))
            if now.ask is None:
                continue
            tried, skill = now.ask.tried, now.ask.hop.skill
            able = [c.id for c in problem.pool if quality(c, skill) and c.id not in tried]
            found = {id: optimum.after(id, now, 3) for id in able}
            cost = now.usd / problem.request.budget.usd_per_quality
            best = optimum.choose(now, 3)
            assert optimum.at(now, 3) == pytest.approx(max([-min(1, cost), *found.values()]))
            assert best is None or found[best] == pytest.approx(optimum.at(now, 3))
            stranger = next((c.id for c in problem.pool if not quality(c, skill)), None)
            if stranger is not None:
                with pytest.raises(ConfigError, match="cannot be asked now"):
                    optimum.after(stranger, now, 3)
            steps += 1
    assert steps > 100


@pytest.mark.slow
def test_what_the_optimum_expects_is_what_it_gets_on_average():
    problems = dealt().problems("train", 300, 5)
    teacher = Teacher(problems, style="optimum")
    got = list(map(reward, problems, play_all(problems, teacher)))
    expected = [Optimum(problem).value for problem in problems]
    errors = [one - other for one, other in zip(got, expected, strict=True)]
    mean = sum(errors) / len(errors)
    spread = (sum((error - mean) ** 2 for error in errors) / len(errors) ** 2) ** 0.5
    assert abs(mean) < 4 * spread


@pytest.mark.slow
def test_the_better_teacher_earns_more_and_all_of_them_finish():
    problems = dealt().problems("train", 150, 6)
    means = {}
    for style in ("optimum", "cheapest", "mended", "mixed", "random"):
        teacher = Teacher(problems, style=style)
        traces = play_all(problems, teacher)
        assert all(trace.answer for trace in traces)
        pairs = zip(problems, traces, strict=True)
        means[style] = sum(reward(*pair) for pair in pairs) / len(problems)
    assert means["optimum"] > means["cheapest"] > means["mixed"] > means["random"]
    assert means["optimum"] > means["mended"] > means["random"]


@pytest.mark.parametrize(
    ("style", "known"),
    [("mixed", {"invalid", "detour"}), ("mended", {"invalid", "detour", "astray"})],
)
def test_a_teacher_marks_its_mistakes_and_mends_them(style, known):
    problems = dealt(hops=(2,), worth=(40,)).problems("train", 200, 0)
    teacher = Teacher(problems, style=style)
    mistakes = set()
    for problem in problems:
        trace = play(problem, teacher)
        turns = [r for r in trace.replies if r.model == "router"]
        mistakes |= {turn.fields["mistake"] for turn in turns if "mistake" in turn.fields}
        assert "mistake" not in turns[-1].fields
        assert progress(problem, trace).ask is None or trace.answer == UNKNOWN
    assert mistakes == known


def test_a_mended_teacher_goes_on_as_the_optimum_would_from_where_its_mistake_has_led():
    problems = dealt(hops=(1,)).problems("train", 300, 0)
    mended, optimum = (Teacher(problems, style=style) for style in ("mended", "optimum"))
    after = 0
    for problem in problems:
        trace = play(problem, mended)
        for k, step in enumerate(trace.steps):
            said = next((reply for reply in step.replies if reply.model == "router"), None)
            if said is not None and "mistake" not in said.fields:
                before = Trace(trace.request, trace.pool, trace.steps[:k])
                call = Call("router", "")
                assert asyncio.run(optimum.complete(call, before)).text == said.text
                after += k > 0
    assert after > 100


def test_a_teacher_says_who_did_not_know_what_the_others_cost_and_then_whom_it_asks():
    problems = dealt(hops=(1,), worth=(40,)).problems("train", 100, 0)
    teacher = Teacher(problems, style="cheapest")
    told = generalists = 0
    for problem in problems:
        skill = problem.hops[0].skill
        usd = {card.id: f"{card.price.call * 1_000_000:.0f}" for card in problem.pool}
        failed: list[str] = []
        for reply in play(problem, teacher).replies:
            if reply.model != "router":
                failed += [reply.model] if reply.text == UNKNOWN else []
            elif "<search>" in (reply.text or ""):
                thought, asked = re.fullmatch(
                    r"<think>(.*)</think><search>(\w+): .*</search>", reply.text
                ).groups()
                left = [card for card in problem.pool if card.id not in failed]
                knowing = [card for card in left if skill in card.skills]
                able = {
                    str(round(100 * card.skills["all"])): card
                    for card in left
                    if "all" in card.skills
                }
                words = skill
                for id in failed:
                    knew = problem.pool.card(id).skills
                    can = f"all {round(100 * knew['all'])}" if "all" in knew else skill
                    words += f" unknown {id} {usd[id]} {can}"
                for card in sorted(knowing, key=lambda card: card.price.call)[:1]:
                    words += f" {usd[card.id]} {skill}"
                for percent in sorted(able, key=int, reverse=True):
                    words += f" {usd[able[percent].id]} all {percent}"
                ways = {f" . {usd[c.id]} {skill} {c.id}" for c in knowing}
                ways |= {f" . {usd[c.id]} all {percent} {c.id}" for percent, c in able.items()}
                assert thought in {words + way for way in ways}
                assert thought.endswith(f" {asked}")
                told += bool(failed)
                generalists += asked in {card.id for card in able.values()}
    assert told
    assert generalists


def test_a_teacher_that_gives_up_says_what_it_would_have_cost():
    problems = dealt(hops=(2,), worth=(3,)).problems("train", 40, 0)
    teacher = Teacher(problems, style="optimum")
    traces = play_all(problems, teacher)
    gave_up = [trace for trace in traces if not any(r.model != "router" for r in trace.replies)]
    assert gave_up
    for trace in gave_up:
        assert re.fullmatch(
            r"<think>\w+( \d \w+)?( \d all \d+){0,2}</think>"
            r"<answer>unknown</answer>",
            trace.replies[0].text,
        )


def test_a_bill_is_the_price_on_the_card():
    problem = dealt().problems("train", 1, 0)[0]
    trace = play(problem, Teacher([problem]))
    calls = [reply for reply in trace.replies if reply.model != "router"]
    assert calls
    assert all(reply.usd == problem.pool.card(reply.model).price.call for reply in calls)


def test_a_number_of_hops_it_does_not_have_is_an_error():
    with pytest.raises(ConfigError, match="1, 2 and 3"):
        dealt(hops=(4,))
    with pytest.raises(ConfigError, match="worth"):
        dealt(worth=())
    with pytest.raises(ConfigError, match="a name is a role"):
        AtlasSmall(roles="fixed", variant="unseen_specialists")
