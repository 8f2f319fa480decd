"""AutoMix: votes decide, by a threshold or by what was learned of them."""

import asyncio
from decimal import Decimal

import pytest
from msgspec.structs import replace

from polyroute import Budget, ModelCard, Pool, Price, Request
from polyroute.backends.scripted import Scripted
from polyroute.decision import Call, Route
from polyroute.episode import run_episode
from polyroute.errors import BackendError, ConfigError
from polyroute.policies.automix import AutoMix, votes
from polyroute.trace import Reply, Step

POOL = Pool([ModelCard(id=name, price=Price(call=Decimal("0.01"))) for name in "abc"])


class Voter:
    """Replies with the model's name; verifies with the words given, in turn."""

    def __init__(self, words, down=()):
        self.words, self.down = words, down
        self.prompts = []

    async def complete(self, call, trace, emit=None):
        if call.model in self.down:
            raise BackendError("down")
        if call.prompt is None:
            return Reply(model=call.model, text=f"says {call.model}</reply>")
        self.prompts.append(call)
        return Reply(model=call.model, text=self.words[call.params["seed"] % len(self.words)])

    async def close(self):
        pass


def run(policy, words, *, down=(), **budget):
    backend = Voter(words, down)
    request = replace(Request.of("why?"), budget=Budget(**budget))
    trace = asyncio.run(run_episode(policy, backend, request, POOL))
    asked = "".join(
        step.replies[0].model for step in trace.steps if step.replies and not step.decision.own
    )
    return asked, trace, backend


BY_SHARE = AutoMix(("a", "b", "c"), samples=4, threshold=0.75)


def test_enough_votes_accept_the_reply():
    asked, trace, backend = run(BY_SHARE, ["Yes", "yes.", "**Yes**", "No"])
    assert (asked, trace.answer) == ("a", "says a</reply>")
    assert [call.params["seed"] for call in backend.prompts] == [0, 1, 2, 3]
    assert {call.model for call in backend.prompts} == {"a"}
    assert trace.rounds == 1


def test_too_few_votes_ask_the_next_stage_and_the_last_is_not_verified():
    asked, trace, backend = run(BY_SHARE, ["Yes", "No", "No", "Yes"])
    assert asked == "abc"
    assert len(backend.prompts) == 8
    assert trace.steps[-1].decision.final


def test_what_cannot_be_read_is_no_vote_and_none_at_all_is_not_accepted():
    asked, *_ = run(BY_SHARE, ["Yes", "Maybe", "Yes", "I think"])
    assert asked == "a"
    asked, *_ = run(BY_SHARE, ["Perhaps"])
    assert asked == "abc"


def test_a_reply_cannot_end_its_fence():
    _, _, backend = run(BY_SHARE, ["Yes"])
    assert backend.prompts[0].prompt.count("</reply>") == 1


SKIPS = (
    ((0.1, 0.1, 0.2), (0.2, 0.2, 0.9), (0.9, 0.5, 0.8)),
    ((0.1, 0.1, 0.2), (0.2, 0.2, 0.9), (0.2, 0.9, 0.8)),
)


@pytest.mark.parametrize(
    ("words", "asked"), [(["Yes"], "a"), (["Yes", "No"], "ac"), (["No"], "ac")]
)
def test_beliefs_choose_the_best_stage_and_may_skip(words, asked):
    policy = AutoMix(("a", "b", "c"), samples=2, beliefs=SKIPS)
    assert run(policy, words)[0] == asked


def test_what_nobody_gets_right_is_not_escalated_when_money_counts():
    policy = AutoMix(("a", "b", "c"), samples=2, beliefs=SKIPS)
    assert run(policy, ["No"], usd_per_quality=0.05)[0] == "a"  # +0.1 is not worth 0.01 / 0.05
    assert run(policy, ["Yes", "No"], usd_per_quality=0.05)[0] == "ac"  # +0.7 is


def test_another_model_may_verify():
    policy = AutoMix(("a", "b"), samples=3, threshold=1.0, verifier="c")
    _, _, backend = run(policy, ["Yes"])
    assert {call.model for call in backend.prompts} == {"c"}


def test_failed_stages_are_passed_and_failed_verifiers_do_not_accept():
    assert run(BY_SHARE, ["Yes"], down="a")[0] == "ab"
    policy = AutoMix(("a", "b"), samples=3, threshold=0.5, verifier="c")
    assert run(policy, ["Yes"], down="c")[0] == "ab"


def test_when_nothing_better_can_be_had_the_last_good_reply_is_the_answer():
    asked, trace, _ = run(AutoMix(("a", "b"), samples=1, threshold=1.0), ["No"], down="b")
    assert asked == "ab"
    assert trace.answer == "says a</reply>"


def test_the_last_round_is_final():
    asked, trace, backend = run(BY_SHARE, ["No"], rounds=1)
    assert asked == "a"
    assert backend.prompts == []
    assert trace.answer == "says a</reply>"


def test_votes_are_read_off_a_step():
    route = Route(calls=(Call("a"), Call("a")), own=True)
    step = Step(route, (Reply(model="a", text="No, it is not"), Reply(model="a", text="“Yes”")))
    assert votes(step) == 0.5
    assert votes(Step(route, (Reply(model="a", text="yesterday"),))) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"order": ("a",), "threshold": 0.5},
        {"order": ("a", "a"), "threshold": 0.5},
        {"order": ("a", "b")},
        {"order": ("a", "b"), "threshold": 0.5, "beliefs": SKIPS},
        {"order": ("a", "b"), "threshold": 1.5},
        {"order": ("a", "b"), "samples": 0, "threshold": 0.5},
        {"order": ("a", "b"), "samples": 2, "beliefs": SKIPS},
    ],
)
def test_parameters_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ConfigError, match=r"order|samples|threshold|beliefs"):
        AutoMix(**wrong)


def test_it_streams_through_the_plain_loop():
    backend = Scripted(lambda model, prompt: "Yes")
    trace = asyncio.run(run_episode(BY_SHARE, backend, Request.of("x"), POOL))
    assert trace.answer == "Yes"
