from decimal import Decimal
from pathlib import Path

import pytest

from polyroute import config
from polyroute.errors import ConfigError, UnknownModelError
from polyroute.policies.fixed import Fixed

MINIMAL = """
pool:
  - {id: echo, backend: {name: scripted, say: "builtins:max"}, price: {input: 0.1}}
policy: {name: fixed, model: echo}
records: {store: none}
"""


def settings(extra: str = "", base: str = MINIMAL):
    return config.parse(base + extra, name="test.yaml")


def test_a_price_is_read_as_it_is_written():
    assert config.build(settings()).pool[0].price.input == Decimal("0.1")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("polcies: {}\n", r"polcies: unknown key; known here: .*did you mean 'polic"),
        ("budget: {usdd: 1}\n", r"budget\.usdd: unknown key; .*did you mean 'usd'"),
        ("budget: {usd: -1}\n", r"budget\.usd: .*greater than or equal to 0.*got -1"),
        ("budget: {rounds: 0}\n", r"budget\.rounds"),
        ("server: {port: 99999}\n", r"server\.port"),
        ("version: 2\n", r"version"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_the_nearest_key(extra, message):
    with pytest.raises(ConfigError, match=message) as caught:
        settings(extra)
    assert str(caught.value).startswith("test.yaml:")


def test_an_unknown_key_of_a_card_is_named_with_the_card():
    text = MINIMAL.replace("id: echo,", "id: echo, contxt: 3,")
    with pytest.raises(ConfigError, match=r"pool\.0\.contxt: unknown key.*'context'"):
        config.parse(text, name="x")


def test_every_mistake_is_reported_at_once():
    with pytest.raises(ConfigError) as caught:
        settings("budget: {usdd: 1}\nserver: {prot: 1}\n")
    assert "budget.usdd" in str(caught.value)
    assert "server.prot" in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a\n- b", "a: [", "pool: []\npolicy: fixed"])
def test_what_is_no_configuration_is_refused(text):
    with pytest.raises(ConfigError):
        config.parse(text, name="x")


def test_a_backend_with_a_wrong_parameter_is_named_with_its_card():
    text = MINIMAL.replace("say:", "sya:")
    with pytest.raises(ConfigError, match=r"pool\.echo\.backend: unknown key 'sya'.*'say'"):
        config.build(config.parse(text, name="x"))


def test_a_policy_is_built_by_its_configured_name_or_its_registered_one():
    setup = config.build(settings("policies: {mine: {name: fixed, model: echo}}\n"))
    assert setup.policy() == setup.policy("mine") == Fixed("echo")
    assert type(setup.policy("cheapest")).__name__ == "Cheapest"


def test_a_broken_policy_is_found_when_the_configuration_is_built():
    with pytest.raises(ConfigError, match=r"policies\.mine: the key 'model' is missing"):
        config.build(settings("policies: {mine: fixed}\n"))


def test_a_fallback_must_be_a_card():
    with pytest.raises(UnknownModelError, match="did you mean 'echo'"):
        config.build(settings("fallback: ecko\n"))


def test_the_file_is_looked_for_where_the_documentation_says(tmp_path: Path, monkeypatch):
    monkeypatch.delenv("POLYROUTE_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    assert config.find() is None
    (tmp_path / "polyroute.yaml").write_text(MINIMAL)
    assert config.find() == Path("polyroute.yaml")
    other = tmp_path / "other.yaml"
    other.write_text(MINIMAL)
    monkeypatch.setenv("POLYROUTE_CONFIG", str(other))
    assert config.find() == other
    assert config.find(tmp_path / "polyroute.yaml") == tmp_path / "polyroute.yaml"
    with pytest.raises(ConfigError, match="there is no configuration file"):
        config.find(tmp_path / "absent.yaml")


def test_a_file_that_is_no_text_is_refused_with_its_name(tmp_path: Path):
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00bad")
    with pytest.raises(ConfigError, match=r"binary\.yaml"):
        config.read(path)


def test_the_built_in_configuration_is_valid():
    built = config.build(config.parse(config.DEFAULT.read_text("utf-8"), name="built-in"))
    specialists = ("calculator", "geography", "elements", "calendar")
    assert built.pool.ids == ("smollm2", *specialists, "r1-router")
    assert all(card.price is not None for card in built.pool)


def test_the_records_go_to_the_state_folder(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("POLYROUTE_HOME", str(tmp_path))
    assert config.state_folder() == tmp_path
    monkeypatch.delenv("POLYROUTE_HOME")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert config.state_folder() == tmp_path / "state" / "polyroute"


def test_a_policy_that_names_an_unknown_card_is_found_with_its_place():
    policy = "policies: {p: {name: rules, rules: [{to: ecko}], otherwise: cheapest}}\n"
    with pytest.raises(UnknownModelError, match=r"policies\.p\.rules\.0\.to: 'ecko'.*'echo'"):
        config.build(settings(policy))


def test_a_configured_policy_is_built_once():
    setup = config.build(settings("policies: {mine: {name: fixed, model: echo}}\n"))
    assert setup.policy("mine") is setup.policy("mine")
    assert setup.policy() is setup.policy()
    assert setup.policy("cheapest") is not setup.policy("cheapest")  # nobody configured it
