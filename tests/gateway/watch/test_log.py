"""A line of JSON per request."""

import json
import logging

from polyroute.gateway.watch.log import LOGGER, RequestLog


def test_a_request_is_one_line_of_json_with_its_trace_id(done, caplog):
    with caplog.at_level(logging.INFO, logger=LOGGER):
        RequestLog().ended(done)
    (record,) = caplog.records
    line = json.loads(record.getMessage())
    assert "\n" not in record.getMessage()
    assert line["trace_id"] == done.outcome.trace.request.id
    assert (line["key"], line["tenant"], line["status"]) == ("k-1", "acme", 200)
    assert [call["failure"] for call in line["calls"]] == [None, None, "unavailable"]
    assert line["usd"] == f"{done.usd:f}"


def test_neither_questions_nor_answers_are_logged(done, made, caplog):
    with caplog.at_level(logging.DEBUG):
        RequestLog().ended(done)
    assert made.secret not in caplog.text
    assert "says two" not in caplog.text


def test_a_failed_request_is_logged_with_its_status(made, caplog):
    with caplog.at_level(logging.INFO, logger=LOGGER):
        RequestLog().ended(made.finish(made.ask("polyroute/to-down")))
    line = json.loads(caplog.records[0].getMessage())
    assert (line["ending"], line["status"]) == ("failed", 502)
