"""Whatever a body holds, it is read, or refused with an error of the API."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyroute.config import Settings, build
from polyroute.gateway.asked import Asked, Reader
from polyroute.gateway.catalogue import Catalogue
from polyroute.gateway.errors import ApiError
from polyroute.gateway.wire import decode

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [
        *("model", "messages", "stream", "stream_options", "seed", "n", "max_tokens", "stop"),
        *("max_completion_tokens", "tools", "polyroute", "temperature", "user"),
    ]
)
OPTIONS = st.sampled_from(
    [
        *("max_usd", "max_seconds", "max_rounds", "max_tokens", "usd_per_quality", "policy"),
        *("trace", "dry_run", "allow", "deny", "conversation", "switch_cost", "cache", "other"),
        "cache_control",
    ]
)
MESSAGES = st.lists(
    st.dictionaries(st.sampled_from(["role", "content", "name", "tool_calls"]), VALUES), max_size=3
)
HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def reader():
    pool = [{"id": "m", "backend": {"name": "scripted", "say": "builtins:max"}}]
    wire = {"pool": pool, "policy": "cheapest", "records": {"store": "none"}}
    setup = build(Settings.model_validate(wire))
    return Reader(setup, Catalogue(setup))


def takes(reader, body):
    try:
        asked = reader.read(decode(body))
    except ApiError as error:
        refused = error
    else:
        assert isinstance(asked, Asked)
        return
    assert 400 <= refused.status < 500
    json.dumps(refused.body())


@given(body=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode()))
def test_any_bytes(reader, body):
    takes(reader, body)


@settings(max_examples=200)
@given(
    wire=st.dictionaries(KEYS, VALUES, max_size=4),
    options=st.none() | st.dictionaries(OPTIONS, VALUES, max_size=3),
    messages=st.just(HELLO) | MESSAGES,
)
def test_any_object(reader, wire, options, messages):
    known = {"model": "polyroute", "messages": messages}
    ours = {} if options is None else {"polyroute": options}
    takes(reader, json.dumps({**known, **wire, **ours}, allow_nan=False).encode())
