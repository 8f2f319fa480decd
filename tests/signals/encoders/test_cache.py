"""The folder of cached files."""

from pathlib import Path

import pytest

from polyroute.errors import ConfigError
from polyroute.signals.encoders import cache


def test_the_folder_is_the_chosen_one_else_the_systems(monkeypatch, tmp_path):
    monkeypatch.setenv("POLYROUTE_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.folder() == tmp_path / "own"
    monkeypatch.delenv("POLYROUTE_CACHE")
    assert cache.folder() == tmp_path / "xdg" / "polyroute"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.folder() == Path.home() / ".cache" / "polyroute"


def test_a_file_is_written_once_and_whole(monkeypatch, tmp_path):
    monkeypatch.setenv("POLYROUTE_CACHE", str(tmp_path / "new"))
    written = []

    def write(path):
        written.append(path)
        path.write_text("content")

    assert cache.stored("a.txt", write) == cache.stored("a.txt", write) == tmp_path / "new/a.txt"
    assert len(written) == 1
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.txt"]


def test_a_file_whose_writing_failed_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("POLYROUTE_CACHE", str(tmp_path))

    def write(path):
        path.write_text("half of")
        raise RuntimeError("cut")

    with pytest.raises(RuntimeError, match="cut"):
        cache.stored("a.txt", write)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_an_error_with_a_remedy(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("POLYROUTE_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(ConfigError, match="POLYROUTE_CACHE"):
        cache.stored("a.txt", lambda path: None)
