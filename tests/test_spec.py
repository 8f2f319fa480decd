from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest

from polyroute import Policy
from polyroute.errors import ConfigError, UnknownPluginError
from polyroute.policies.fixed import Fixed
from polyroute.spec import _call, construct, nearest, normal


@dataclass(frozen=True)
class Inner:
    size: int
    name: str = ""


class Outer:
    def __init__(  # noqa: PLR0913 - one of each shape
        self,
        *,
        count: int,
        inner: Inner | None = None,
        several: tuple[Inner, ...] = (),
        names: tuple[str, ...] = (),
        weights: Mapping[str, float] | None = None,
        policy: Policy | None = None,
        accept: Callable[[str], bool] | None = None,
    ) -> None:
        if count < 0:
            raise ConfigError("count must be 0 or more")
        self.values = (count, inner, several, names, weights, policy, accept)


def build(**values):
    return _call(Outer, values, where="here").values


def test_values_are_converted_by_their_annotations():
    count, inner, several, names, weights, policy, accept = build(
        count="3",
        inner={"size": 1},
        several=[{"size": 2, "name": "x"}],
        names=["a", "b"],
        weights={"w": 1},
        policy={"name": "fixed", "model": "m"},
        accept="builtins:bool",
    )
    assert (count, inner, several) == (3, Inner(1), (Inner(2, "x"),))
    assert (names, weights, policy, accept) == (("a", "b"), {"w": 1.0}, Fixed("m"), bool)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 1, "iner": {}}, r"here: unknown key 'iner'.*did you mean 'inner'"),
        ({}, r"here: the key 'count' is missing"),
        ({"count": "many"}, r"here\.count: .*integer.*got 'many'"),
        ({"count": -1}, r"here: count must be 0 or more"),
        ({"count": 1, "several": [{"size": 1}, {"sice": 1}]}, r"here\.several\.1: unknown key"),
        ({"count": 1, "policy": {"model": "m"}}, r"here\.policy: expected a name"),
        ({"count": 1, "policy": "fixd"}, r"did you mean 'fixed'"),
        ({"count": 1, "accept": "no_such:thing"}, r"here\.accept: cannot import"),
    ],
)
def test_a_mistake_is_named_with_its_place(values, message):
    with pytest.raises(ConfigError, match=message):
        build(**values)


def test_an_unknown_plugin_lists_the_known_ones():
    with pytest.raises(UnknownPluginError, match=r"known: .*cascade.*fixed"):
        construct("policies", "magic", where="policy")


def test_a_spec_is_never_changed_by_building_it():
    spec = {"name": "fixed", "model": "m"}
    construct("policies", spec, where="policy")
    assert spec == {"name": "fixed", "model": "m"} == normal(spec, where="x")


def test_a_key_without_a_near_one_lists_what_is_known():
    assert nearest("zzz", ["a", "b"]) == "known here: a, b"


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "cascade", "order": ["a"], "accept": "builtins:bool"},
        {"name": "self_consistency", "probe": "a", "arena": ["a", "b"], "extract": "builtins:str"},
        {
            "name": "rules",
            "rules": [{"to": "a", "matches": "1"}],
            "otherwise": {"name": "cascade", "order": ["a"], "accept": "builtins:bool"},
        },
    ],
)
def test_a_function_is_imported_only_where_that_is_allowed(spec):
    construct("policies", spec, where="policy")
    with pytest.raises(ConfigError, match="import code"):
        construct("policies", spec, where="policy", imports=False)
    construct("policies", spec, where="policy")  # and the ban ends with the call


def test_a_plug_in_that_is_built_already_is_taken_as_it_is():
    policy = Fixed("m")
    assert build(count=1, policy=policy)[5] is policy
