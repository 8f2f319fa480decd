"""What `polyroute doctor --production` finds: what is ready, and every way of not being it."""

import copy
import json
import os
import resource
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from polyroute.cli import app
from polyroute.cli.production import CHECKS
from polyroute.gateway.access.keys import generate


def instance(host, **more):
    return {"url": f"https://{host}.example.com/v1", "key_env": "UPSTREAM_KEY", **more}


def model(id, **more):
    backend = {
        "name": "openai",
        "instances": [instance(f"{id}-1"), instance(f"{id}-2")],
        "health": {"probe_s": 10},
    }
    return {"id": id, "price": {"input": 1, "output": 2}, "backend": backend, **more}


READY = {
    "pool": [model("large"), model("small")],
    "policy": {"name": "fixed", "model": "small"},
    "fallback": "small",
    "fallbacks": {"large": ["small"]},
    "budget": {"usd": 0.05, "seconds": 60},
    "server": {"host": "10.0.0.5"},
    "access": {"trusted_proxies": ["10.0.0.1"]},
    "state": {"store": "sqlite"},
}


def key(name, *options):
    arguments = ["key", "new", "--name", name, "--config", "polyroute.yaml", *options]
    return CliRunner().invoke(app, arguments)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Return a folder in which everything is ready; the server does not run as root there."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POLYROUTE_HOME", str(home))
    monkeypatch.setenv("UPSTREAM_KEY", "upstream")
    monkeypatch.delenv("POLYROUTE_CONFIG", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (65_536, 65_536))
    write(tmp_path, READY)
    limits = ("--usd-per-day", "5", "--expires", "90d")
    assert key("website", *limits).exit_code == 0
    assert key("operator", "--scope", "admin", "--scope", "metrics", *limits).exit_code == 0
    purged(home, datetime.now(UTC))
    return tmp_path


def purged(home, when):
    line = {"at": when.isoformat(), "act": "trace.purge", "older_than": "2026-01-01T00:00:00Z"}
    (home / "audit.jsonl").write_text(json.dumps(line) + "\n")
    (home / "audit.jsonl").chmod(0o600)


def write(folder, settings):
    (folder / "polyroute.yaml").write_text(json.dumps(settings))  # JSON is YAML
    (folder / "polyroute.yaml").chmod(0o644)


def changed(**changes):
    """Return what is ready with other values at dotted places; `None` takes a place away."""
    settings = copy.deepcopy(READY)
    for dotted, value in changes.items():
        *above, last = dotted.split("__")
        part = settings
        for name in above:
            part = part[int(name)] if name.isdigit() else part.setdefault(name, {})
        if value is None:
            del part[last]
        else:
            part[last] = value
    return settings


def doctor():
    result = CliRunner().invoke(app, ["doctor", "--production", "--json"])
    assert result.stdout, result.output
    return result.exit_code, json.loads(result.stdout)


def unready():
    """Return the exit code, and (subject, level, problem) of what is not ready."""
    code, found = doctor()
    wrong = [one for one in found if one["level"] != "ok"]
    assert all(one["remedy"] and one["problem"] for one in wrong)
    return code, [(one["subject"], one["level"], one["problem"]) for one in wrong]


def test_what_is_ready_is_exit_code_0_and_every_check_says_so(place):
    code, found = doctor()
    assert [one for one in found if one["level"] != "ok"] == []
    assert code == 0
    assert [one["subject"] for one in found] == [check.subject for check in CHECKS]


@pytest.mark.parametrize(
    ("changes", "subject", "level", "said"),
    [
        ({"access": None}, "tls", "error", "in the clear"),
        ({"access__trusted_proxies": ["0.0.0.0/0"]}, "tls", "error", "every address"),
        (
            {"access__tls": {"certificate": "no.pem", "key": "no.key"}},
            "tls", "error", "cannot be used",
        ),
        ({"watch": {"metrics": False}}, "metrics", "warning", "nobody can see"),
        ({"budget__usd": None}, "budget", "error", "limit in dollars"),
        ({"budget__seconds": "null"}, "configuration", "error", "budget.seconds"),
        ({"pool__0__price": None}, "pool.large", "error", "price unknown"),
        ({"fallback": None}, "fallback", "warning", "requests fail"),
        ({"fallbacks": None}, "fallbacks", "warning", "is down"),
        (
            {"policies__deep": {"name": "trained", "artifact": "router.npz"}},
            "policies.deep", "error", "router.npz",
        ),
        (
            {"policy": {"name": "cascade", "steps": [{"name": "trained", "artifact": "r"}]}},
            "policy", "error", "whoever put it there",
        ),
        (
            {"pool__1__backend__instances": [instance("only")]},
            "pool.small", "warning", "a single instance",
        ),
        ({"pool__1__backend__health": None}, "pool.small", "warning", "found out by a request"),
        (
            {"pool__1__backend": {"name": "scripted", "say": "says:nothing"}},
            "pool.small", "error", "makes its replies up",
        ),
        (
            {"pool__1__backend__instances__0__url": "http://models.example.com/v1"},
            "pool.small", "error", "keys and prompts go to models.example.com",
        ),
        ({"records": {"store": "none"}}, "records", "error", "none are kept"),
        ({"server__workers": 4}, "records", "warning", "one file"),
        ({"state": {"store": "redis"}}, "records", "warning", "a file of each"),
        ({"state": None}, "state", "error", "forgotten"),
        (
            {"state": {"store": "redis", "on_loss": "open"}},
            "state", "warning", "no limit holds",
        ),
        ({"state": {"store": "redis", "url": "redis://cache:6379"}}, "state", "error", "change"),
        ({"state": {"store": "redis", "url": "redis://cache:6379"}}, "state", "warning", "clear"),
        ({"server__grace_s": 0}, "stopping", "warning", "cuts every running stream"),
        ({"access__max_requests": 40_000}, "open files", "warning", "80064"),
        (
            {"pool__0__backend__instances__0__headers": {"Authorization": "opaque"}},
            "secrets", "error", "instances.0.headers.Authorization",
        ),
        (
            {"pool__0__backend__instances__0__key_env": "sk-abcdef0123456789"},
            "secrets", "error", "instances.0.key_env",
        ),
        (
            {"state": {"store": "redis", "url": "redis://:hunter22@127.0.0.1"}},
            "secrets", "error", "state.url",
        ),
        ({"server__keys_env": "NO_SUCH_KEYS"}, "keys", "error", "not set or empty"),
        (
            {"pool__1__backend__instances__0__key_env": "NO_SUCH_KEY"},
            "variables", "error", "pool.1.backend.instances.0.key_env names NO_SUCH_KEY, which",
        ),
        (
            {"state": {"store": "redis", "password_env": "NO_SUCH_PASSWORD"}},
            "variables", "error", "state.password_env",
        ),
    ],
)  # fmt: skip
def test_it_is_found(place, changes, subject, level, said):
    write(place, changed(**changes))
    code, found = unready()
    assert any((s, n) == (subject, level) and said in p for s, n, p in found), found
    assert code == (1 if any(n == "error" for _, n, _ in found) else 0)


def test_a_secret_that_is_found_is_not_shown(place):
    write(place, changed(pool__0__backend__instances__0__key_env="sk-abcdef0123456789"))
    result = CliRunner().invoke(app, ["doctor", "--production"])
    assert "secrets" in result.output
    assert "abcdef0123456789" not in result.output


def test_a_server_that_others_reach_without_keys_is_an_error_and_on_loopback_a_warning(place):
    (place / "home" / "keys.json").unlink()
    code, found = unready()
    assert code == 1
    assert ("keys", "error", "there are none: who reaches the server may spend without limit") in (
        found
    )
    write(place, changed(server__host="127.0.0.1"))
    assert ("keys", "warning") in [(s, n) for s, n, _ in unready()[1]]


def test_weak_keys_are_an_error_and_keys_without_limits_a_warning(place, monkeypatch):
    write(place, changed(server__keys_env="KEYS"))
    monkeypatch.setenv("KEYS", "hunter2")
    code, found = unready()
    assert code == 1
    assert any(s == "keys" and n == "error" and "weak" in p for s, n, p in found)
    monkeypatch.setenv("KEYS", generate())
    code, found = unready()
    assert code == 0
    assert any(s == "keys" and "no limits" in p for s, _, p in found)


def test_each_key_is_looked_at(place):
    key("forever", "--usd-per-day", "1")
    key("boundless", "--expires", "90d")
    key("ending", "--usd-per-day", "1", "--expires", "3d")
    said = {subject: problem for subject, _, problem in unready()[1]}
    assert said["keys.forever"] == "never expires"
    assert said["keys.boundless"] == "may spend without limit"
    assert said["keys.ending"].startswith("expires on ")
    assert "keys.website" not in said


def test_without_keys_for_it_nobody_administrates_and_nobody_scrapes(place):
    CliRunner().invoke(app, ["key", "revoke", "operator", "--config", "polyroute.yaml"])
    subjects = {subject for subject, _, _ in unready()[1]}
    assert {"administrators", "metrics"} <= subjects


def test_retention_is_a_purge_that_was_not_long_ago(place):
    purged(place / "home", datetime.now(UTC) - timedelta(days=40))
    assert [subject for subject, _, _ in unready()[1]] == ["retention"]
    (place / "home" / "audit.jsonl").unlink()
    assert [subject for subject, _, _ in unready()[1]] == ["retention"]


@pytest.mark.parametrize("name", ["keys.json", "records.sqlite", "state.sqlite", "audit.jsonl"])
def test_files_that_others_can_open_are_an_error(place, name):
    file = place / "home" / name
    file.touch()
    file.chmod(0o640)
    code, found = unready()
    assert code == 1
    assert [(s, n) for s, n, _ in found] == [("files", "error")]
    assert "0640" in found[0][2]


def test_a_configuration_that_others_can_change_is_an_error(place):
    (place / "polyroute.yaml").chmod(0o664)
    assert any(s == "files" and "can be changed" in p for s, _, p in unready()[1])


def test_a_tls_key_that_others_can_read_is_an_error_and_a_good_pair_is_well(place):
    make = "openssl req -x509 -newkey rsa:2048 -nodes -keyout k.pem -out c.pem -days 2 -subj /CN=x"
    subprocess.run(make.split(), cwd=place, check=True, capture_output=True)
    tls = {"certificate": str(place / "c.pem"), "key": str(place / "k.pem")}
    write(place, changed(access={"tls": tls}))
    (place / "k.pem").chmod(0o600)
    assert unready() == (0, [])
    (place / "k.pem").chmod(0o644)
    assert [(s, n) for s, n, _ in unready()[1]] == [("files", "error")]


def test_root_is_a_warning(place, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert [(s, n) for s, n, _ in unready()[1]] == [("user", "warning")]


def test_a_broken_configuration_is_a_finding_and_not_a_crash(place):
    (place / "polyroute.yaml").write_text("pool: [")
    code, found = unready()
    assert code == 1
    assert [(s, n) for s, n, _ in found] == [("configuration", "error")]


def test_for_people_it_is_a_table_with_remedies(place):
    write(place, changed(budget__usd=None))
    result = CliRunner().invoke(app, ["doctor", "--production"])
    assert result.exit_code == 1
    assert "WRONG" in result.stdout
    assert "budget.usd" in result.stdout


def test_a_read_only_secret_may_be_its_groups(place):
    (place / "home" / "keys.json").chmod(0o440)
    assert unready() == (0, [])
    (place / "home" / "keys.json").chmod(0o444)
    assert [(s, n) for s, n, _ in unready()[1]] == [("files", "error")]
