"""Trained routers in a configuration: what joins the pool, and what is said when one is missing."""

import asyncio
from decimal import Decimal

import pytest

from polyroute import Budget, Request, Trace
from polyroute.backends.local.weights import find
from polyroute.config import DEFAULT, build, left_out, parse, routers, why_not
from polyroute.errors import ArtifactError, ConfigError
from polyroute.policies.cheapest import Cheapest
from polyroute.policies.router_r1 import RouterR1
from polyroute.pool import Pool
from polyroute.train.artifact import Fitted, Trained, save
from polyroute.train.r1.rollout import ROUTER
from polyroute.train.r1.served import ADAPTER, RouterModel, prompt_digest

TEXT = DEFAULT.read_text("utf-8")


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A folder in which ``r1`` would come with polyroute."""
    folder = tmp_path / "r1.router"
    monkeypatch.setattr(routers, "SHIPPED", {"r1": folder})
    return folder


@pytest.fixture
def there(shipped):
    try:
        find("smollm2")
    except ConfigError as error:
        pytest.skip(str(error))
    pytest.importorskip("xllamacpp", reason="needs the extra [local]")
    made(shipped)
    return shipped


def made(folder, **change):
    spec = {"router": "router", "layout": "brief", "worth": 2e-5, "show_usd": False}
    policy = RouterR1(**spec)
    training = {"base_model": "smollm2", "prompt": prompt_digest(policy), **change}
    fitted = Fitted(
        policy=policy,
        spec={"name": "router_r1", **spec},
        pool=Pool([ROUTER]),
        training=training,
        model={ADAPTER: b"GGUF, say"},
    )
    save(folder, fitted, created_at="2026-01-01")


def first_prompt(policy, pool, **budget):
    request = Request.of("Who?", budget=Budget(**budget))
    route = asyncio.run(policy.decide(Trace(request, pool)))
    return route.calls[0].model, route.calls[0].prompt


def test_a_router_that_does_not_come_along_is_left_out_and_named(shipped):
    settings = parse(TEXT, name="test")
    assert "r1" not in settings.policies
    assert str(shipped) in left_out(settings)["r1"]
    assert str(shipped) in why_not("r1")
    assert why_not("r2") is None


def test_a_router_that_is_there_joins_with_a_card_and_a_policy(there):
    settings = parse(TEXT, name="test")
    assert left_out(settings) == {}
    assert why_not("r1").endswith("add: routers: {r1: {artifact: r1}}")
    setup = build(settings)
    policy, pool = setup.policy("r1"), setup.pool
    assert isinstance(policy, Trained)
    assert isinstance(setup.backends["r1-router"], RouterModel)
    assert pool.card("r1-router").kind == "router"
    model, prompt = first_prompt(policy, pool, usd=Decimal("0.01"))
    assert model == "r1-router"
    # as it was trained: with what an answer is worth, without dollars; it is no candidate itself
    assert "worth 20" in prompt
    assert "budget" not in prompt
    assert "r1-router" not in prompt
    assert "worth 6" in first_prompt(policy, pool, usd_per_quality=7e-6)[1]  # the nearest step
    asyncio.run(setup.backends["r1-router"].close())


def test_nobody_else_asks_a_router(there):
    pool = build(parse(TEXT, name="test")).pool
    assert "r1-router" not in pool.candidates.ids
    assert {card.kind for card in pool.answering} == {"model"}
    assert {card.id for card in Cheapest()._ranked(Trace(Request.of("?"), pool))} == {"smollm2"}


def test_a_folder_that_is_missing_is_an_error(shipped, tmp_path):
    text = TEXT.replace("artifact: r1,", f"artifact: {tmp_path}/none.router,")
    with pytest.raises((ArtifactError, ConfigError), match="is no artifact"):
        build(parse(text, name="test"))


def test_a_router_for_another_prompt_is_refused(there):
    made(there, prompt="0" * 64)
    with pytest.raises((ArtifactError, ConfigError), match="another prompt"):
        build(parse(TEXT, name="test"))


def test_only_a_policy_with_a_router_model_takes_another_one(there):
    assert Trained("r1", router="mine").policy.router == "mine"
