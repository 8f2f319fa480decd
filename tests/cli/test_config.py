import json

import pytest

from polyroute import config


def test_init_writes_the_default_configuration_with_its_comments(run, tmp_path):
    result = run("config", "init", "new.yaml")
    assert result.exit_code == 0
    assert (tmp_path / "new.yaml").read_bytes() == config.DEFAULT.read_bytes()
    assert "config check new.yaml" in result.stderr


def test_init_leaves_a_file_alone_unless_it_is_forced(run, tmp_path):
    (tmp_path / "mine.yaml").write_text("mine")
    result = run("config", "init", "mine.yaml")
    assert result.exit_code == 2
    assert "--force" in result.stderr
    assert (tmp_path / "mine.yaml").read_text() == "mine"
    assert run("config", "init", "mine.yaml", "--force").exit_code == 0
    assert (tmp_path / "mine.yaml").read_bytes() == config.DEFAULT.read_bytes()


def test_init_into_a_folder_that_is_not_there_is_one_clean_message(run):
    result = run("config", "init", "nowhere/new.yaml")
    assert result.exit_code == 2
    assert "cannot write nowhere/new.yaml" in result.stderr


def test_check_says_in_words_what_a_configuration_does(run, configure):
    configure(fallback="a", budget={"usd": 0.5, "rounds": 3})
    result = run("config", "check")
    assert result.exit_code == 0
    for words in (
        "pool: 2 cards",
        "policy: panel (members: ['a', 'b'], chair: a)",
        "or only-b: fixed (model: b)",
        "when a policy breaks: a answers",
        "at most 3 rounds, $0.5, 120 s",
        "(texts in full)",
        "0 errors, 0 warnings",
    ):
        assert words in result.stdout


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"polciy": "cheapest"}, "did you mean 'policy'"),
        ({"policy": {"name": "cheapes"}}, "did you mean 'cheapest'"),
        ({"policy": {"name": "fixed", "modle": "a"}}, "did you mean 'model'"),
        ({"policy": {"name": "fixed", "model": "c"}}, "policy.model: 'c' is not in the pool"),
        ({"policies": {"p": {"name": "panel", "members": ["a", "bb"], "chair": "a"}}},
         "policies.p.members.1: 'bb' is not in the pool"),
        ({"policy": {"name": "rules", "rules": [{"to": "aa"}], "otherwise": "cheapest"}},
         "policy.rules.0.to: 'aa' is not in the pool"),
        ({"fallback": "c"}, "'c' is not in the pool"),
        ({"pool": []}, "pool: "),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place_and_exit_code_2(run, configure, keys, words):
    configure(**keys)
    result = run("config", "check")
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_a_file_that_is_no_yaml_is_named(run, tmp_path):
    (tmp_path / "bad.yaml").write_text("pool: [")
    result = run("config", "check", "bad.yaml")
    assert result.exit_code == 2
    assert "bad.yaml is no YAML" in result.stderr


def test_a_missing_price_is_a_warning_until_a_budget_needs_it(run, configure, card):
    configure(pool=[card("a"), card("b", price=False)])
    warned = run("config", "check")
    assert warned.exit_code == 0
    assert "warning: pool.b: price unknown" in warned.stderr
    configure(pool=[card("a"), card("b", price=False)], budget={"usd": 1})
    refused = run("config", "check")
    assert refused.exit_code == 2
    assert "error: pool.b: price unknown, so the budget of 1 usd cannot hold" in refused.stderr


def test_a_missing_key_is_a_warning_with_the_command_that_sets_it(run, configure, monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    instance = {"url": "http://127.0.0.1:9/v1", "key_env": "NO_SUCH_KEY"}
    backend = {"name": "openai", "instances": [instance]}
    price = {"input": 1}
    configure(
        pool=[{"id": "a", "price": price, "backend": backend}], policy="cheapest", policies={}
    )
    result = run("config", "check")
    assert result.exit_code == 0
    assert "pool.a: the environment variable NO_SUCH_KEY holds no key" in result.stderr
    assert "hint: export NO_SUCH_KEY=..." in result.stderr
    monkeypatch.setenv("NO_SUCH_KEY", "k")
    assert "NO_SUCH_KEY" not in run("config", "check").stderr


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ({"policy": {"name": "fixed", "modle": "a"}}, "policy: unknown key 'modle'"),
        ({"policies": {"p": {"name": "fixed", "modle": "a"}}}, "policies.p: unknown key 'modle'"),
        ({"policy": {"name": "fixed", "model": "z"}}, "policy.model: 'z' is not in the pool"),
        ({"fallbacks": {"a": ["z"]}}, "fallbacks.a: 'z' is not in the pool"),
    ],
)
def test_fallbacks_do_not_move_the_place_of_a_mistake(run, configure, card, keys, place):
    defaults = {"policy": "cheapest", "policies": {}, "fallbacks": {"a": ["b"]}}
    configure(**{"pool": [card("a"), card("b")], **defaults, **keys})
    assert f"error: {place}" in run("config", "check").stderr


def test_check_says_whose_keys_are_let_in(run, configure, tmp_path):
    access = {"keys": str(tmp_path / "keys.json"), "admin_keys_env": "ADMINS"}
    configure(access=access, server={"keys_env": "CLIENTS"})
    said = run("config", "check").stdout
    assert f"keys from {tmp_path}/keys.json and $CLIENTS and $ADMINS (administrators')" in said


def test_check_for_programs_is_json(run, configure):
    configure(policy={"name": "fixed", "model": "c"})
    result = run("config", "check", "--json")
    assert result.exit_code == 2
    (finding,) = json.loads(result.stdout)["findings"]
    assert (finding["subject"], finding["level"]) == ("configuration", "error")
    assert "policy.model: 'c' is not in the pool" in finding["problem"]
