"""What every registered plug-in must do, whatever its family."""

import ast
import importlib
import pkgutil
from pathlib import Path

import pytest

import polyroute
from polyroute.registry import names

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    module.name for module in pkgutil.walk_packages(polyroute.__path__, prefix="polyroute.")
)


def public_names(tree):
    """Names that a module defines at its top level, on a condition or not."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.If):
            yield from public_names(node)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_exports_what_it_defines(name):
    path = Path(importlib.util.find_spec(name).origin)
    tree = ast.parse(path.read_text("utf-8"))
    exported = [
        [element.value for element in node.value.elts]
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
    ]
    defined = {found for found in public_names(tree) if not found.startswith("_")}
    if path.name in ("__init__.py", "__main__.py") and not exported:
        assert not defined
        return
    assert exported, "every module has an __all__"
    assert len(exported[0]) == len(set(exported[0]))
    if path.name != "__init__.py":
        assert set(exported[0]) == defined


def test_the_top_level_is_small():
    assert len(polyroute.__all__) <= 30
    assert all(hasattr(polyroute, name) for name in polyroute.__all__)


@pytest.mark.parametrize("name", names("policies"))
def test_every_policy_has_its_page(name):
    page = ROOT / "docs" / "methods" / f"{name}.md"
    assert page.is_file()
    assert f"methods/{name}.md" in (ROOT / "mkdocs.yml").read_text("utf-8")
