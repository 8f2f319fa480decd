import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyroute.balance.health import Health, Tally
from polyroute.balance.instances import Instances
from polyroute.balance.round_robin import RoundRobin
from polyroute.decision import Call
from polyroute.errors import BackendError, ConfigError, RateLimitError
from polyroute.types import Request

ASK, REQUEST = Call("model"), Request.of("?")
DOWN = BackendError("connection refused, with a secret in it")


class Fleet:
    """Instances on a clock that a test moves."""

    def __init__(self, n=3, **health):
        self.now = 100.0
        self.all = Instances(
            RoundRobin(),
            [(str(k), 1.0, None) for k in range(n)],
            health=Health(**health),
            clock=lambda: self.now,
        )

    def choose(self, but=()):
        return self.all.choose(ASK, REQUEST, but)

    def ask(self, error=None, seconds=0.1):
        """Ask whoever is chosen; return who it was."""
        place = self.choose()
        if place is not None:
            self.all.ended(place, error, seconds=seconds)
        return place

    def fail(self, place, times=5, error=DOWN):
        for _ in range(times):
            self.all.live[place].outstanding += 1
            self.all.ended(place, error)

    def succeed(self, place, times=1, seconds=0.1):
        for _ in range(times):
            self.all.live[place].outstanding += 1
            self.all.ended(place, seconds=seconds)

    @property
    def states(self):
        return [one.state for one in self.all.snapshot()]


def test_failures_in_a_row_open_the_circuit_and_nobody_asks_there_any_more():
    fleet = Fleet(in_a_row=3)
    fleet.fail(1, times=2)
    assert fleet.states == ["closed"] * 3
    fleet.fail(1)
    assert fleet.states == ["closed", "open", "closed"]
    assert {fleet.ask() for _ in range(12)} == {0, 2}


def test_a_success_between_failures_starts_the_row_again():
    fleet = Fleet(in_a_row=3, least_calls=100)
    for _ in range(5):
        fleet.fail(0, times=2)
        fleet.succeed(0)
    assert fleet.states[0] == "closed"


def test_a_rate_of_errors_over_the_window_opens_it():
    fleet = Fleet(n=1, in_a_row=100, least_calls=10, error_rate=0.5)
    for _ in range(4):
        fleet.succeed(0)
        fleet.fail(0, times=1)
    assert fleet.states == ["closed"]
    fleet.succeed(0)
    fleet.fail(0, times=1)
    assert fleet.states == ["open"]


def test_errors_older_than_the_window_count_no_more():
    fleet = Fleet(n=1, in_a_row=100, least_calls=10, error_rate=0.5, window_s=30)
    fleet.fail(0, times=9)
    fleet.now += 31
    fleet.fail(0, times=9)
    assert fleet.states == ["closed"]


def test_one_trial_brings_it_back():
    fleet = Fleet(in_a_row=3, open_s=5)
    fleet.fail(1, times=3)
    fleet.now += 4.9
    assert fleet.states[1] == "open"
    fleet.now += 0.2
    assert fleet.choose() == 1, "the trial comes first: recovery does not wait for its turn"
    assert {fleet.ask() for _ in range(8)} == {0, 2}, "one trial at a time"
    fleet.all.ended(1, seconds=0.2)
    assert fleet.states == ["closed"] * 3
    assert {fleet.ask() for _ in range(6)} == {0, 1, 2}


def test_a_trial_that_fails_opens_it_again_at_once():
    fleet = Fleet(in_a_row=3, open_s=5)
    fleet.fail(1, times=3)
    fleet.now += 5
    assert fleet.ask(DOWN) == 1
    assert fleet.states[1] == "open"
    assert fleet.all.snapshot()[1].back_in_s == pytest.approx(5)


def test_a_trial_that_is_cut_off_by_us_says_nothing_and_is_made_again():
    fleet = Fleet(in_a_row=3, open_s=5)
    fleet.fail(1, times=3)
    fleet.now += 5
    assert fleet.choose() == 1
    fleet.all.ended(1)
    assert fleet.states[1] == "half_open"
    assert fleet.choose() == 1


def test_a_trial_that_streams_is_passed_with_its_first_text():
    fleet = Fleet(in_a_row=3, open_s=5)
    fleet.fail(1, times=3)
    fleet.now += 5
    assert fleet.choose() == 1
    assert fleet.all.is_on_trial(1)
    fleet.all.answered(1, 0.3)
    assert fleet.states[1] == "closed"


def test_a_trial_that_was_sent_there_already_is_left_to_another_call():
    fleet = Fleet(in_a_row=3, open_s=5)
    fleet.fail(1, times=3)
    fleet.now += 5
    assert fleet.choose(but={1}) in (0, 2)
    assert fleet.choose() == 1


def test_a_wrong_request_says_nothing_against_the_instance():
    fleet = Fleet(in_a_row=3)
    fleet.fail(0, times=20, error=BackendError("no such parameter", kind="bad_request"))
    fleet.fail(0, times=20, error=BackendError("too long", kind="context"))
    assert fleet.states[0] == "closed"


def test_answers_that_begin_late_count_as_failed():
    fleet = Fleet(n=1, in_a_row=3, slow_s=2.0)
    fleet.succeed(0, times=3, seconds=2.5)
    assert fleet.states == ["open"]
    assert "began after 2.5 s" in fleet.all.snapshot()[0].why


def test_a_429_rests_as_long_as_it_asks():
    fleet = Fleet()
    fleet.fail(0, times=1, error=RateLimitError("slow down", retry_after_s=7.0))
    assert fleet.states[0] == "cooling"
    fleet.now += 6.9
    assert {fleet.ask() for _ in range(6)} == {1, 2}
    fleet.now += 0.2
    assert {fleet.ask() for _ in range(6)} == {0, 1, 2}


def test_a_429_without_a_time_rests_the_configured_time_and_a_long_one_is_not_believed():
    fleet = Fleet(cooldown_s=2, longest_cooldown_s=60)
    fleet.fail(0, times=1, error=RateLimitError("slow down"))
    fleet.fail(1, times=1, error=RateLimitError("slow down", retry_after_s=86_400))
    assert [one.back_in_s for one in fleet.all.snapshot()] == [2, 60, None]
    assert fleet.all.wait_s() == pytest.approx(2)


def test_an_instance_that_rests_may_be_asked_again_by_who_waited_and_one_that_is_down_not():
    fleet = Fleet(in_a_row=3)
    fleet.fail(0, times=1, error=RateLimitError("slow down"))
    fleet.fail(1, times=3)
    assert fleet.all.again(0)
    assert not fleet.all.again(1)


def test_when_all_are_down_nobody_is_asked_and_it_says_why():
    fleet = Fleet(n=2, in_a_row=3)
    fleet.fail(0, times=3)
    fleet.fail(1, times=3)
    assert fleet.choose() is None
    assert fleet.all.why_out() == "0 is open: unavailable; 1 is open: unavailable"


def test_what_an_upstream_said_is_not_shown():
    fleet = Fleet(in_a_row=1)
    fleet.fail(0, times=1)
    assert "secret" not in str(fleet.all.snapshot())


def much_worse(fleet, place):
    for one in range(len(fleet.states)):
        fleet.succeed(one, times=12)
    for _ in range(8):
        fleet.fail(place, times=1)


def test_an_instance_that_does_much_worse_than_the_others_is_ejected_for_a_while():
    fleet = Fleet(n=4, error_rate=1, in_a_row=100, worse_by=0.3, eject_s=30)
    much_worse(fleet, 2)
    assert fleet.states == ["closed", "closed", "ejected", "closed"]
    fleet.now += 31
    assert fleet.states[2] == "closed"


def test_no_more_than_the_allowed_share_is_ejected():
    fleet = Fleet(n=4, error_rate=1, in_a_row=100, worse_by=0.2, most_ejected=0.5)
    for place in (0, 1, 2):
        much_worse(fleet, place)
    assert fleet.states.count("ejected") == 2


def test_when_all_do_badly_none_is_ejected():
    fleet = Fleet(n=3, error_rate=1, in_a_row=100, worse_by=0.3)
    for _ in range(12):
        for place in range(3):
            fleet.succeed(place)
            fleet.fail(place, times=1)
    assert fleet.states == ["closed"] * 3


def test_an_instance_that_is_much_slower_than_the_others_is_ejected():
    fleet = Fleet(n=3, slower_by=3.0)
    for place in (0, 1):
        fleet.succeed(place, times=12, seconds=0.1)
    fleet.succeed(2, times=12, seconds=0.5)
    assert fleet.states == ["closed", "closed", "ejected"]


def test_probes_open_the_circuit_and_bring_a_trial_forward():
    fleet = Fleet(probe_failures=2, open_s=60)
    fleet.all.probed(0, ok=False, why="no connection within 1 s")
    assert fleet.states[0] == "closed"
    fleet.all.probed(0, ok=False, why="no connection within 1 s")
    assert fleet.states[0] == "open"
    fleet.all.probed(0, ok=True)
    assert fleet.states[0] == "half_open"
    assert fleet.ask() == 0
    assert fleet.states[0] == "closed"


def test_running_calls_are_counted_to_the_last():
    fleet = Fleet()
    places = [fleet.choose() for _ in range(9)]
    assert [one.outstanding for one in fleet.all.snapshot()] == [3, 3, 3]
    for place in places:
        fleet.all.ended(place, seconds=0.1)
    assert [one.outstanding for one in fleet.all.snapshot()] == [0, 0, 0]
    assert sum(one.calls for one in fleet.all.snapshot()) == 9


steps = st.lists(
    st.tuples(st.sampled_from(["ok", "down", "429", "cut", "probe", "no"]), st.floats(0, 8)),
    max_size=60,
)


@given(steps)
def test_nobody_who_is_out_is_asked_but_for_one_trial_and_all_come_back(happened):
    fleet = Fleet(n=3, in_a_row=2, least_calls=4, open_s=5, cooldown_s=2, eject_s=10)
    for what, pause in happened:
        fleet.now += pause
        if what in ("probe", "no"):
            fleet.all.probed(1, ok=what == "probe", why="no")
            continue
        states = fleet.states
        place = fleet.choose()
        if place is None:
            assert "closed" not in states
            continue
        assert states[place] in ("closed", "half_open")
        error = {"down": DOWN, "429": RateLimitError("slow down")}.get(what)
        fleet.all.ended(place, error, seconds=None if what == "cut" else 0.1)
    fleet.now += 100
    for _ in range(3):
        fleet.ask()
    assert fleet.states == ["closed"] * 3


@given(st.lists(st.tuples(st.floats(0, 9), st.booleans()), max_size=80))
def test_a_tally_is_the_count_over_its_window_to_a_tenth_of_it(calls):
    tally, now, seen = Tally(10.0), 50.0, []
    for pause, failed in calls:
        now += pause
        tally.add(now, failed=failed)
        seen.append((now, failed))
        at_most = [f for at, f in seen if at > now - 10.0]
        at_least = [f for at, f in seen if at > now - 9.0 + 1e-6]
        assert len(at_least) <= tally.calls(now) <= len(at_most) + 1e-9
        assert sum(at_least) <= tally.failed(now) <= sum(at_most)


@pytest.mark.parametrize(
    "wrong", [{"open_s": 0}, {"in_a_row": 0}, {"error_rate": 1.5}, {"slow_s": -1.0}]
)
def test_a_value_out_of_range_is_refused(wrong):
    with pytest.raises(ConfigError, match=f"health.{next(iter(wrong))}"):
        Health(**wrong)
