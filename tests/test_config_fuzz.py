"""Whatever a configuration file holds, it is settings or an error that says what is wrong."""

import copy

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from polyroute.config import Settings, parse
from polyroute.config.read import DEFAULT
from polyroute.errors import ConfigError

WHOLE = yaml.safe_load(DEFAULT.read_text("utf-8"))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3)
)


def reads(text):
    try:
        read = parse(text, name="f")
    except ConfigError:
        return
    assert isinstance(read, Settings)


@given(st.text(max_size=300))
def test_any_text(text):
    reads(text)


@settings(max_examples=25)
@given(st.data())
def test_the_built_in_configuration_with_another_value_anywhere(data):
    whole = copy.deepcopy(WHOLE)
    part, value = whole, data.draw(VALUES)
    while True:
        places = list(part) if isinstance(part, dict) else list(range(len(part)))
        place = data.draw(st.sampled_from(places))
        inner = part[place]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            break
        part = inner
    part[place] = value
    if isinstance(part, dict) and data.draw(st.booleans()):
        part[data.draw(st.text(max_size=8))] = value
    reads(yaml.safe_dump(whole, allow_unicode=True))


@pytest.mark.parametrize(
    "text",
    [
        "[" * 500, "pool: &a [*a]", "pool: &a {id: *a}", "at: 2001-99-99", "x: 0b", "x: 1__:2",
        "? [1, 2]\n: 3", "a: !!python/object:os.system x", "x: !!int y", "x: !!binary é", "\ud800",
        "x: !!float z", "x: &a\n  <<: *a", "x: 1e999", "--- a\n--- b", "\0",
    ],
)  # fmt: skip
def test_what_yaml_stumbles_over(text):
    with pytest.raises(ConfigError):
        parse(text, name="f")
