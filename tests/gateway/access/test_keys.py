"""Keys, the file that keeps them, and what a server knows of them."""

import json
import statistics
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyroute import ModelCard, Pool
from polyroute.errors import ConfigError
from polyroute.gateway.access import ring as ring_module
from polyroute.gateway.access.keys import (
    AccessKey,
    KeyFile,
    check_strength,
    digest,
    generate,
    is_mistyped,
    read_keys,
)
from polyroute.gateway.access.ring import KeyRing, simple_key
from polyroute.gateway.errors import ApiError

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def kept(key: str, **changes: Any) -> AccessKey:
    sha256 = digest(key.encode()).hex()
    fields = {"id": sha256[:12], "sha256": sha256, "name": "web", "created_at": NOW, **changes}
    return AccessKey.model_validate(fields)


def scope(key: str | None, header: bytes = b"authorization") -> dict[str, Any]:
    value = b"" if key is None else key.encode()
    value = b"Bearer " + value if header == b"authorization" else value
    return {"headers": [] if key is None else [(header, value)]}


class Clock:
    def __init__(self, at: float = NOW.timestamp()) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


def test_a_key_is_never_in_its_file(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "state" / "keys.json")
    key = generate()
    file.add(kept(key, usd_per_day=Decimal("0.1"), scopes=["ask", "traces"]))
    file.add(kept(generate(), name="other"))
    text = file.path.read_text()
    assert key not in text
    assert key[3:20] not in text
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert [k.name for k in file.read()] == ["web", "other"]
    assert file.read()[0].usd_per_day == Decimal("0.1")


def test_a_revoked_key_stays_in_the_file_as_revoked(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    key = kept(generate())
    file.add(key)
    with pytest.raises(ConfigError, match="names no key"):
        file.revoke("nobody")
    assert file.revoke("web").state(datetime.now(UTC)) == "revoked"
    first = file.read()[0].revoked_at
    assert file.revoke(key.id).revoked_at == first, "the first time counts"


@pytest.mark.parametrize("content", ["[]", '{"version": 2}', '{"keys": [{"id": "x"}]}', "no json"])
def test_a_file_that_holds_no_keys_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "keys.json").write_text(content)
    with pytest.raises(ConfigError, match="is no file of keys"):
        KeyFile(tmp_path / "keys.json").read()


def test_generated_keys_differ_and_show_a_slip_of_the_pen() -> None:
    keys = {generate() for _ in range(200)}
    assert len(keys) == 200
    for key in keys:
        check_strength(key, where="test")
        assert not is_mistyped(key)
        swapped = key[:10] + key[11] + key[10] + key[12:]
        assert is_mistyped(swapped) or swapped == key
    assert not is_mistyped("a key of somebody else's making")


@pytest.mark.parametrize("weak", ["", "secret", "a" * 60, "abab" * 20, "1234567890123456789"])
def test_weak_keys_are_refused_and_not_quoted(weak: str) -> None:
    with pytest.raises(ConfigError, match="weak key") as error:
        check_strength(weak, where="$KEYS")
    assert not weak or weak not in str(error.value)


def test_a_server_finds_a_key_as_either_client_sends_it() -> None:
    key, other = generate(), generate()
    ring = KeyRing([kept(key, tenant="acme"), kept(other)])
    assert ring.caller(scope(key)).tenant == "acme"
    assert ring.caller(scope(key, b"x-api-key")).id == kept(key).id
    for wrong in (None, "", key[:-1], key + "x", generate(), key.upper()):
        with pytest.raises(ApiError) as error:
            ring.caller(scope(wrong))
        assert (error.value.status, error.value.code) == (401, "invalid_api_key")


def test_expired_and_revoked_keys_open_nothing() -> None:
    clock, key = Clock(), generate()
    ring = KeyRing([kept(key, expires_at=NOW + timedelta(days=1))], clock=clock)
    assert ring.caller(scope(key))
    clock.at += 86_400
    with pytest.raises(ApiError, match="expired") as error:
        ring.caller(scope(key))
    assert (error.value.status, error.value.code) == (401, "expired_api_key")
    revoked = KeyRing([kept(key, revoked_at=NOW)], clock=clock)
    with pytest.raises(ApiError, match="revoked"):
        revoked.caller(scope(key))


def test_a_change_of_the_file_holds_without_a_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, file = Clock(), KeyFile(tmp_path / "keys.json")
    first, second = generate(), generate()
    file.add(kept(first))
    ring = KeyRing(file=file, clock=clock)
    file.add(kept(second, name="second"))
    clock.at += 2
    assert ring.caller(scope(second))
    file.revoke("web")
    clock.at += 2
    with pytest.raises(ApiError):
        ring.caller(scope(first))
    file.path.write_text("damaged")
    clock.at += 2
    assert ring.caller(scope(second)), "a file that cannot be read changes nothing"
    assert "the keys stay as they were" in caplog.text


def test_cards_of_a_key_are_known_by_alias() -> None:
    pool = Pool([ModelCard(id="small", aliases=("maker/small",)), ModelCard(id="large")])
    key = generate()
    ring = KeyRing([kept(key, cards=["maker/small", "gone"])], pool=pool)
    assert ring.caller(scope(key)).cards == {"small", "gone"}


def test_the_simple_form_does_everything_but_administrate() -> None:
    assert "admin" not in simple_key("k").scopes
    assert simple_key("k", admin=True).scopes == {"ask", "feedback", "traces", "metrics", "admin"}


def test_keys_of_the_environment_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEYS", " a, ,b ")
    assert read_keys("SOME_KEYS") == ("a", "b")
    monkeypatch.setenv("SOME_KEYS", " , ")
    with pytest.raises(ConfigError, match="SOME_KEYS"):
        read_keys("SOME_KEYS")


@given(sent=st.text(alphabet="abcdef0123456789_", min_size=0, max_size=60))
def test_every_key_that_is_sent_is_compared_once_whole_and_as_a_hash(sent: str) -> None:
    """What takes time does not depend on how much of the key is right: hashes are compared."""
    ring = KeyRing([kept(f"pr_{'a' * 32}")])
    calls: list[tuple[int, int]] = []
    original = ring_module.hmac.compare_digest
    try:
        ring_module.hmac.compare_digest = lambda a, b: (  # type: ignore[assignment]
            calls.append((len(a), len(b))) or original(a, b)
        )
        with pytest.raises(ApiError):
            ring.caller(scope(sent))
    finally:
        ring_module.hmac.compare_digest = original
    assert calls == [(32, 32)]


@pytest.mark.slow
def test_how_long_a_refusal_takes_says_nothing_of_the_key() -> None:
    """Keys that share their first 40 characters with a right one, against keys that share none.

    The medians of interleaved rounds are compared; what is compared is hashes, whose first
    difference says nothing of the keys.
    """
    key = generate()
    ring = KeyRing([kept(key)])
    near, far = scope(key[:-1] + "?"), scope("zz_" + "?" * 38)
    medians: dict[int, list[float]] = {0: [], 1: []}
    for _ in range(41):
        for k, sent in enumerate((near, far)):
            start = time.perf_counter()
            for _ in range(200):
                with pytest.raises(ApiError):
                    ring.caller(sent)
            medians[k].append(time.perf_counter() - start)
    ratio = statistics.median(medians[0]) / statistics.median(medians[1])
    assert 0.8 < ratio < 1.25


def test_a_file_written_by_hand_may_leave_out_what_is_usual(tmp_path: Path) -> None:
    sha256 = digest(b"k").hex()
    wire = {"id": sha256[:12], "sha256": sha256, "name": "n", "created_at": "2026-01-01T00:00:00Z"}
    (tmp_path / "keys.json").write_text(json.dumps({"version": 1, "keys": [wire]}))
    (key,) = KeyFile(tmp_path / "keys.json").read()
    assert (key.tenant, key.limited, key.scopes) == ("default", False, {"ask", "feedback"})
    wire["created_at"] = "2026-01-01T00:00:00"
    (tmp_path / "keys.json").write_text(json.dumps({"version": 1, "keys": [wire]}))
    with pytest.raises(ConfigError, match="time zone"):
        KeyFile(tmp_path / "keys.json").read()
