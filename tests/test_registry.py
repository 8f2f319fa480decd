from importlib.metadata import EntryPoint

import pytest

from polyroute import registry
from polyroute.errors import MissingExtraError, UnknownPluginError


@pytest.mark.parametrize(
    ("module", "extra"),
    [("sklearn.linear_model", "learn"), ("onnxruntime", "embed"), ("torch", "train"),
     ("starlette", "serve"), ("pyarrow", "tables"), ("xllamacpp", "local")],
)  # fmt: skip
def test_a_missing_package_is_named_with_the_extra_that_brings_it(monkeypatch, module, extra):
    def load(self):
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr(EntryPoint, "load", load)
    with pytest.raises(MissingExtraError, match=rf"pip install 'polyroute\[{extra}\]'"):
        registry.load("policies", "fixed")


def test_a_broken_plugin_is_not_blamed_on_an_extra(monkeypatch):
    def load(self):
        raise ModuleNotFoundError("No module named 'polyroute.nope'", name="polyroute.nope")

    monkeypatch.setattr(EntryPoint, "load", load)
    with pytest.raises(ModuleNotFoundError, match=r"polyroute\.nope") as caught:
        registry.load("policies", "fixed")
    assert not isinstance(caught.value, MissingExtraError)


def test_an_unknown_name_lists_the_known_and_the_near_ones():
    with pytest.raises(UnknownPluginError, match=r"known: .*fixed.*did you mean 'fixed'"):
        registry.load("policies", "fixd")
