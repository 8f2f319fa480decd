"""The page's files, and what it asks for, over a real server."""

import asyncio
import json
import re
from importlib.resources import files
from urllib.parse import quote

import pytest

from polyroute.backends.openai import Instance, OpenAI
from polyroute.backends.scripted import Scripted
from polyroute.balance.health import Health
from polyroute.decision import Call
from polyroute.errors import BackendError
from polyroute.gateway.keeper import Keeper
from polyroute.gateway.watch.instances import Instances
from polyroute.gateway.watch.watch import Watch
from polyroute.records.jsonl import JsonlStore
from polyroute.types import Request

HELLO = {"messages": [{"role": "user", "content": "capital of Peru?"}]}
READS = ("live", "figures", "instances", "records")
UI = files("polyroute.gateway.watch") / "ui"


@pytest.fixture
def watched(serving, tmp_path):
    return serving(records=JsonlStore(tmp_path / "records.jsonl"))


def ask(server, model="polyroute/rounds", **headers):
    return server.send("POST", "/v1/chat/completions", {"model": model, **HELLO}, headers)


def test_the_page_names_only_files_that_it_has_and_nothing_from_elsewhere(watched):
    index = watched.send("GET", "/ui/").text
    for name in re.findall(r'(?:src|href)="([^"#]+)"', index):
        got = watched.send("GET", f"/ui/{name}")
        assert got.status_code == 200, name
    for file in UI.iterdir():
        text = file.read_text("utf-8")
        assert not re.search(r"https?://(?!www\.w3\.org)", text), file.name
        for name in re.findall(r'from "\./([^"]+)"', text):
            assert (UI / name).is_file(), name


def test_nothing_inline_that_the_policy_of_the_page_forbids(watched):
    got = watched.send("GET", "/ui/")
    policy = got.headers["content-security-policy"]
    assert "'unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*src=)", got.text)
    assert got.headers["x-content-type-options"] == "nosniff"


def test_ui_without_a_slash_leads_to_the_page(watched):
    got = watched.send("GET", "/ui")
    assert (got.status_code, got.headers["location"]) == (307, "ui/")


@pytest.mark.parametrize(
    "path", ["../watch.py", "..%2fwatch.py", "%2e%2e/page.py", "/etc/passwd", "style.css/x", "x"]
)
def test_no_path_leads_out_of_the_folder(watched, path):
    assert watched.send("GET", f"/ui/{path}").status_code == 404


def test_a_file_that_has_not_changed_is_not_sent_again(watched):
    tag = watched.send("GET", "/ui/style.css").headers["etag"]
    again = watched.send("GET", "/ui/style.css", headers={"if-none-match": tag})
    assert (again.status_code, again.text) == (304, "")


def test_figures_say_what_was_asked_and_what_it_cost(watched):
    usd = json.loads(ask(watched).text)["polyroute"]["usd"]
    trace = ask(watched).headers["x-polyroute-trace-id"]
    rated = watched.send("POST", "/v1/feedback", {"trace_id": trace, "reward": 0.5})
    assert rated.status_code == 200
    said = watched.send("GET", "/v1/watch/figures?minutes=10").json()
    assert said["policies"]["rounds"]["answered"] == 2
    spent = sum(float(point["usd"]) for point in said["timeline"])
    assert spent == pytest.approx(2 * float(usd))
    assert [p["quality"] for p in said["timeline"] if p["rewards"]] == [0.5]
    cards = {card["id"]: card for card in said["cards"]}
    assert (cards["bracket"]["own"], cards["echo"]["calls"]) == (2, 2)
    assert cards["down-503"]["failures"] == {"unavailable": 2}


def test_metrics_are_prometheus_text(watched):
    ask(watched)
    watched.send("POST", "/v1/chat/completions", {"model": "no-such-model", **HELLO})
    got = watched.send("GET", "/metrics")
    assert got.headers["content-type"].startswith("text/plain")
    assert 'polyroute_requests_total{ending="answered",policy="rounds"} 1.0' in got.text
    assert 'polyroute_refused_total{status="404"} 1.0' in got.text
    assert "polyroute_requests_running 0.0" in got.text


def test_instances_say_what_they_answer_and_what_calls_met(watched):
    ask(watched)
    said = watched.send("GET", "/v1/watch/instances").json()["cards"]
    echo = next(card for card in said if card["card"] == "echo")["instances"][0]
    assert echo["instance"].startswith("127.0.0.1")
    assert echo["calls"] == 1
    assert echo["ok"] is False, "the upstream of the tests has no list of models"


def test_instances_say_whether_calls_go_there_now(upstream):
    places = (
        Instance(url=upstream.url, name="one", region="eu"),
        Instance(url=upstream.url, name="two", weight=2),
    )
    backend = OpenAI(instances=places, health=Health(in_a_row=1, open_s=1_000))
    backend._instances.choose(Call("m"), Request.of("?"))
    backend._instances.ended(0, BackendError("down"), seconds=0.1)

    async def report():
        try:
            return await Instances({"m": backend, "here": Scripted(str)}).report()
        finally:
            await backend.close()

    there, here = asyncio.run(report())
    one, two = there["instances"]
    assert (one["instance"], one["region"], two["region"]) == ("one", "eu", None)
    assert (one["health"]["state"], one["health"]["why"]) == ("open", "unavailable")
    assert one["health"]["back_in_s"] > 900
    assert (two["health"]["state"], two["health"]["weight"]) == ("closed", 2)
    assert here["instances"][0]["health"] is None


def test_records_are_listed_newest_first(watched):
    traces = [ask(watched).headers["x-polyroute-trace-id"] for _ in range(3)]
    said = watched.send("GET", "/v1/watch/records?limit=2").json()
    assert [record["id"] for record in said["records"]] == traces[:0:-1]
    assert said["records"][0]["question"] == "capital of Peru?"


def test_a_replay_says_where_another_policy_leaves_the_record(watched):
    trace = ask(watched).headers["x-polyroute-trace-id"]

    def replay(policy, **more):
        body = {"trace_id": trace, "policy": policy, **more}
        return watched.send("POST", "/v1/watch/replay", body)

    same = replay("rounds").json()
    assert (same["same"], same["steps"], same["difference"]) == (True, 3, None)
    other = replay("then-echo").json()
    assert (other["same"], other["agreed"]) == (False, 0)
    assert other["difference"]["replayed"]["calls"][0]["model"] == "bracket"
    tighter = replay("rounds", max_usd="0").json()
    assert "would be refused" in tighter["difference"]["explanation"]
    assert replay("nobody").status_code == 400
    assert replay("rounds", max_rounds=0).json()["error"]["param"] == "max_rounds"


def test_the_wrong_number_of_minutes_is_an_error(watched):
    for minutes in ("0", "1441", "x", "-1", "٣", "9" * 5_000):
        path = f"/v1/watch/figures?minutes={quote(minutes)}"
        assert watched.send("GET", path).status_code == 400


@pytest.mark.parametrize("path", [*(f"/v1/watch/{name}" for name in READS), "/metrics"])
def test_without_a_key_nothing_of_the_server_is_shown(serving, path):
    server = serving(keys=("a-key-of-some-length-0123456789",))
    assert server.send("GET", path).status_code == 401
    assert server.send("GET", "/ui/").status_code == 200


def test_what_is_switched_off_is_not_there(made):
    off = Watch(made.make_setup({"metrics": False, "page": False}), Keeper(None))
    assert (off.watches, off.routes) == (False, [])
    metrics = Watch(made.make_setup({"page": False}), Keeper(None))
    assert [route.path for route in metrics.routes] == ["/metrics"]
