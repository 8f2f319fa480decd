from pathlib import Path

import pytest

from polyroute.registry import load, names

INDEX = (Path(__file__).parents[2] / "docs" / "methods" / "index.md").read_text("utf-8")


@pytest.mark.parametrize("name", names("policies"))
def test_the_index_says_where_a_policy_stands(name):
    method = load("policies", name).method
    what = ", ".join(method.what) or "nothing"
    assert f"| [{name}]({name}.md) | {method.when} | {what} | {method.how} |" in INDEX
