"""Feedback outlives crashes, threads and mistakes, and never touches a record."""

import json
import stat
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyroute.errors import RecordError
from polyroute.records.feedback import Feedback, FeedbackLog


@given(trace_id=st.text(min_size=1), reward=st.floats(0, 1) | st.sampled_from([0, 1]))
def test_a_line_says_what_was_put_into_it(trace_id, reward):
    feedback = Feedback(trace_id=trace_id, reward=reward)
    line = feedback.line()
    assert line.count(b"\n") == 1
    assert Feedback.from_line(line) == feedback


def test_the_newest_reward_of_a_trace_counts_and_all_are_kept(tmp_path):
    log = FeedbackLog(tmp_path / "deep" / "feedback.jsonl")
    assert log.rewards() == {}
    for trace_id, reward in [("a", 0.0), ("b", 0.5), ("a", 1.0)]:
        log.add(Feedback(trace_id=trace_id, reward=reward))
    assert log.rewards() == {"a": 1.0, "b": 0.5}
    assert [each.reward for each in log] == [0.0, 0.5, 1.0]
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600


def test_a_line_cut_by_a_crash_costs_that_line_only(tmp_path):
    log = FeedbackLog(tmp_path / "f.jsonl")
    log.add(Feedback(trace_id="a", reward=1))
    with log.path.open("ab") as file:
        file.write(b'{"trace_id": "b", "rew')
    log.add(Feedback(trace_id="c", reward=0))
    assert log.rewards() == {"a": 1.0, "c": 0.0}
    assert log.unreadable() == 1


def _add(path, name):
    log = FeedbackLog(path)
    for k in range(50):
        log.add(Feedback(trace_id=f"{name}-{k}", reward=0.5))


@pytest.mark.slow
def test_processes_do_not_write_into_each_others_lines(tmp_path):
    with ProcessPoolExecutor(4) as pool:
        list(pool.map(_add, [tmp_path / "f.jsonl"] * 4, range(4)))
    log = FeedbackLog(tmp_path / "f.jsonl")
    assert len(log.rewards()) == 200
    assert log.unreadable() == 0


def test_threads_do_not_write_into_each_others_lines(tmp_path):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(_add, [tmp_path / "f.jsonl"] * 4, range(4)))
    assert len(FeedbackLog(tmp_path / "f.jsonl").rewards()) == 200


@pytest.mark.parametrize("reward", [-0.1, 1.1, float("nan"), True, "1", None])
def test_what_is_no_reward_is_refused(reward):
    with pytest.raises(RecordError, match="reward"):
        Feedback(trace_id="a", reward=reward)


def test_what_is_no_feedback_is_refused():
    for line in (b"[]", b"{", b'{"trace_id": "a", "reward": 1}', json.dumps(None).encode()):
        with pytest.raises(RecordError, match="not feedback"):
            Feedback.from_line(line)
    with pytest.raises(RecordError, match="trace_id"):
        Feedback(trace_id="", reward=1)


def test_a_folder_that_cannot_be_used_is_an_error_with_the_reason(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="is lost"):
        FeedbackLog(tmp_path / "file" / "f.jsonl").add(Feedback(trace_id="a", reward=1))


def test_it_stands_beside_its_store(tmp_path):
    log = FeedbackLog.beside(tmp_path / "records.sqlite")
    assert log.path == tmp_path / "records.sqlite.feedback.jsonl"
