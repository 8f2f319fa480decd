"""Feedback over HTTP: kept beside the records, on traces that exist, or refused with the reason."""

import pytest

from polyroute.errors import RecordError
from polyroute.records.feedback import FeedbackLog
from polyroute.records.jsonl import JsonlStore

HELLO = [{"role": "user", "content": "hello"}]


def ask(server):
    reply = server.client().chat.completions.create(model="polyroute", messages=HELLO)
    return reply.model_extra["polyroute"]["trace_id"]


def test_feedback_is_kept_and_the_record_is_not_touched(server):
    trace_id = ask(server)
    before = server.records.get(trace_id).line()
    for reward in (0.25, 1):
        said = server.send("POST", "/v1/feedback", {"trace_id": trace_id, "reward": reward})
        assert said.status_code == 200
        assert said.json()["reward"] == reward
    assert FeedbackLog.beside(server.records.path).rewards()[trace_id] == 1.0
    assert server.records.get(trace_id).line() == before
    assert server.records.verify().ok


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({"trace_id": "x"}, "reward", "missing"),
        ({"reward": 1}, "trace_id", "missing"),
        ({"trace_id": "x", "reward": 2}, "reward", "0 to 1"),
        ({"trace_id": "x", "reward": True}, "reward", "0 to 1"),
        ({"trace_id": 7, "reward": 1}, "trace_id", "trace_id"),
        ({"trace_id": "x", "reward": 1, "mood": "good"}, "mood", "unknown key"),
    ],
)
def test_what_is_no_feedback_is_refused_by_the_field(server, body, param, says):
    refused = server.send("POST", "/v1/feedback", body)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == param
    assert says in refused.json()["error"]["message"]


def test_a_body_that_is_no_object_is_refused(server):
    assert server.send("POST", "/v1/feedback", b"[1]").status_code == 400
    assert server.send("POST", "/v1/feedback", b"{").status_code == 400
    assert server.send("GET", "/v1/feedback").status_code == 405


def test_a_trace_nobody_knows_is_not_found(server):
    refused = server.send("POST", "/v1/feedback", {"trace_id": "nobody", "reward": 1})
    assert refused.status_code == 404
    assert refused.json()["error"]["code"] == "trace_not_found"


def test_a_server_without_records_says_so(serving):
    refused = serving().send("POST", "/v1/feedback", {"trace_id": "x", "reward": 1})
    assert refused.status_code == 404
    assert "records" in refused.json()["error"]["message"]


def test_a_client_without_a_key_gives_no_feedback(serving, tmp_path):
    server = serving(records=JsonlStore(tmp_path / "r.jsonl"), keys=("secret",))
    refused = server.send("POST", "/v1/feedback", {"trace_id": "x", "reward": 1})
    assert refused.status_code == 401


def test_feedback_that_cannot_be_kept_is_not_acknowledged(serving, tmp_path, monkeypatch):
    server = serving(records=JsonlStore(tmp_path / "r.jsonl"))
    trace_id = ask(server)

    def full(self, feedback):
        raise RecordError("no space left on device")

    monkeypatch.setattr(FeedbackLog, "add", full)
    refused = server.send("POST", "/v1/feedback", {"trace_id": trace_id, "reward": 1})
    assert refused.status_code == 503
