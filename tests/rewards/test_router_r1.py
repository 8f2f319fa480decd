import asyncio
import json
from decimal import Decimal

import pytest

from polyroute import Pool, Request, run_episode
from polyroute.backends.scripted import Scripted
from polyroute.errors import ConfigError
from polyroute.policies.router_r1 import RouterR1
from polyroute.rewards.cost import Lagrangian, Linear, Reference
from polyroute.rewards.outcome import outcome
from polyroute.rewards.router_r1 import RouterR1Reward

GOOD, BAD = "<think>easy</think><answer>her</answer>", "<answer>her</answer>"


class Fixed(Linear):
    """A cost whose reward is 0.2, whatever the episode."""

    def __call__(self, trace):
        return 0.8


def code(metric="exact_match"):
    return RouterR1Reward(form="code", metric=metric, weight=0.6, cost=Fixed())


@pytest.mark.parametrize(("turn", "total"), [
    (GOOD, 0.52),                                            # right, well formed
    ("<think>easy</think><answer>him</answer>", 0.0),        # wrong, well formed
    (BAD, -1.0),                                             # right, malformed
])  # fmt: skip
def test_the_vectors_of_the_reference_code(script, turn, total):
    assert code()(script().own(turn).answers("?"), ["her"]).total == pytest.approx(total)


def test_the_reference_code_gives_nothing_for_no_answer(script):
    reward = RouterR1Reward(form="code", weight=0.6, cost=Fixed(), malformed=lambda trace: None)
    assert reward(script().own("<think>easy</think>").trace, ["her"]).total == 0.0


def test_the_reference_code_adds_the_cost_to_any_f1_above_zero(script):
    trace = script().own("<think>so</think><answer>her of old</answer>").answers("?")
    f1 = 2 / (1 / 3 + 1) * (1 / 3)
    assert code("f1")(trace, ["her"]).total == pytest.approx(0.4 * f1 + 0.6 * 0.2)
    assert code("f1")(trace, ["him"]).total == 0.0
    assert code("f1")(trace, ["no"]).total == 0.0


@pytest.mark.parametrize(("said", "total"), [("her", 0.4 + 0.12), ("him", 0.12)])
def test_the_paper_gives_the_cost_reward_also_for_a_wrong_answer(script, said, total):
    reward = RouterR1Reward(form="paper", weight=0.6, cost=Fixed())
    trace = script().own(f"<think>so</think><answer>{said}</answer>").answers("?")
    assert reward(trace, ["her"]).total == pytest.approx(total)


def test_without_the_format_reward_a_fault_is_told_and_not_punished(script):
    trace = script(0.00032).asked("gemma", prompt=0, completion=100).answers("her")
    fault = {"malformed": lambda trace: "no thought"}
    assert RouterR1Reward(**fault)(trace, ["her"]).total == -1.0
    terms = RouterR1Reward(**fault, strict=False)(trace, ["her"])
    assert (terms.total, terms.malformed) == (pytest.approx(0.75), "no thought")


def test_in_the_paper_a_malformed_text_nullifies_all_else(script):
    terms = RouterR1Reward(form="paper")(script().own("<think></think>" + BAD).trace, ["her"])
    assert (terms.total, terms.format, terms.outcome) == (-1.0, -1.0, 1.0)
    assert RouterR1Reward(form="paper")(script().trace, ["her"]).total == -1.0


@pytest.mark.parametrize(("worth", "gated", "said", "total"), [
    (None, False, "her", 1.0),
    (0.00032, False, "her", 0.75),
    (0.00032, False, "him", -0.25),
    (0.00032, True, "him", 0.0),
    (0.00032, True, "her", 0.75),
    (0.00001, False, "her", 0.0),
])  # fmt: skip
def test_our_form_is_the_outcome_less_its_share_of_what_it_is_worth(
    script, worth, gated, said, total
):
    trace = script(worth).asked("gemma", prompt=0, completion=100).answers(said)
    terms = RouterR1Reward(gated=gated)(trace, ["her"])
    assert terms.total == pytest.approx(total)
    assert terms.usd == Decimal("0.00008")


def test_our_form_gives_minus_one_without_an_answer_of_the_policy(script):
    reward = RouterR1Reward()
    assert reward(script().own(GOOD).trace, ["her"]).total == -1.0
    assert reward(script().own("?").fallback("gemma", "her"), ["her"]).malformed == "no answer"
    assert reward(script().answers("her", fallback="four turns"), ["her"]).total == -1.0
    refused = script().asked("gemma", failure="refusal").trace
    assert reward(refused, ["her"]).total == -1.0


def test_a_policys_own_check_decides_what_is_malformed(script):
    reward = RouterR1Reward(malformed=lambda trace: "too long" if len(trace.steps) > 2 else None)
    assert reward(script().own(GOOD).answers("her"), ["her"]).total == 1.0
    terms = reward(script().own("?").own(GOOD).answers("her"), ["her"])
    assert (terms.total, terms.malformed) == (-1.0, "too long")


def test_only_training_moves_what_a_cost_has_learned(script):
    reward = RouterR1Reward(form="code", weight=0.6)
    dear, cheap = (script().asked("gemma", completion=n).own(GOOD).answers("her") for n in (400, 4))
    reward(dear, ["her"], training=True)
    for _ in range(9):
        reward(cheap, ["her"])
    assert reward(cheap, ["her"]).cost == 0.5
    assert reward(cheap, ["her"], training=True).cost == 0.0


def test_a_reward_saves_what_its_cost_has_learned(script):
    def make():
        return RouterR1Reward(cost=Lagrangian(1e-5, rate=0.5))

    trace = script().asked("gemma").answers("her")
    first = make()
    first(trace, ["her"], training=True)
    first.step()
    assert make()(trace, ["her"]).total == 1.0
    assert make().restore(first.state())(trace, ["her"]) == first(trace, ["her"])
    assert first(trace, ["her"]).total < 0.0


@pytest.mark.parametrize("options", [{"form": "theirs"}, {"weight": -0.1},
                                     {"form": "paper", "weight": 1.1}])  # fmt: skip
def test_a_reward_of_nonsense_is_refused(options):
    with pytest.raises(ConfigError, match=r"form|weight"):
        RouterR1Reward(**options)


def test_metrics_go_by_name_and_short_name():
    assert outcome("her majesty", ["her"], "cem") == outcome("1,000.0", ["1000"], "number") == 1.0
    assert outcome("her majesty", ["her"], "em") == 0.0
    with pytest.raises(ConfigError, match="no metric 'bleu'"):
        outcome("her", ["her"], "bleu")


def test_an_episode_of_the_policy_is_scored_as_it_ran(script):
    """End to end: the router asks once and answers; format, outcome and bill are as they were."""
    turns = iter(["<think>ask</think><search>gemma: who?</search>", GOOD])
    backend = Scripted(lambda model, prompt: next(turns) if model == "router" else "her, I think")
    pool = Pool(card for card in script().trace.pool if card.id in ("router", "gemma"))
    policy = RouterR1(router="router", dialect="code")
    trace = asyncio.run(run_episode(policy, backend, Request.of("Who?"), pool))

    def malformed(trace):
        return next(
            (t.invalid or t.faults[0] for t in policy.turns(trace) if not t.well_formed), None
        )

    for form in ("code", "paper", "polyroute"):
        check = malformed if form == "polyroute" else None
        terms = RouterR1Reward(form=form, malformed=check)(trace, ["her"])
        assert (terms.total, terms.calls, terms.malformed) == (1.0, 1, None)
        assert terms.usd == trace.usd > 0


def test_the_state_of_the_reference_is_plain_numbers(script):
    cost = Reference()
    cost.observe(script().asked("gemma").trace)
    assert json.dumps({k: v.tolist() for k, v in cost.state().arrays.items()})
