import asyncio
import hashlib
import json
import pickle
import re
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polyroute import ModelCard, Pool, Price, Request, Trace
from polyroute.errors import ArtifactError, ConfigError, NotFittedError
from polyroute.policies.fixed import Fixed
from polyroute.protocols import State
from polyroute.spec import construct
from polyroute.train import artifact, artifact_files
from polyroute.train.artifact import Fitted, Trained, load, read_manifest, save
from polyroute.train.examples import Examples
from polyroute.train.fit import Plan, fit

WHEN = "2026-11-22T04:00:00+00:00"
PLAN = Plan(policy={"name": "greedy", "quality": {"name": "ridge", "encoder": "tfidf"}})
QUESTIONS = ["sum of 7", "a poem", "Proof?", "", "unheard-of", "x" * 5_000]


@pytest.fixture(scope="session")
def fitted(table):
    pool = Pool(
        [
            ModelCard(id="small", price=Price.per_million("0.1", "0.4"), description="Brief."),
            ModelCard(id="large", price=Price.per_million(1, 4), aliases=("big",)),
        ]
    )
    return fit(PLAN, Examples.of(table, pool=pool))


@pytest.fixture(scope="session")
def stored(fitted, tmp_path_factory):
    path = tmp_path_factory.mktemp("artifacts") / "my.router"
    save(path, fitted, created_at=WHEN)
    return path


@pytest.fixture
def copy(stored, tmp_path):
    return shutil.copytree(stored, tmp_path / "copy.router")


def decisions(policy, pool):
    return [asyncio.run(policy.decide(Trace(Request.of(question), pool))) for question in QUESTIONS]


def forge(path, change):
    """Change the manifest and make its digest fit again, as one who can write the folder can."""
    body = json.loads((path / "manifest.json").read_bytes())
    body.pop("digest")
    change(body)
    digest = hashlib.sha256(artifact_files.json_bytes(body, of="")).hexdigest()
    (path / "manifest.json").write_bytes(
        artifact_files.json_bytes({**body, "digest": digest}, of="")
    )


def test_a_router_decides_the_same_before_and_after(fitted, stored):
    again = load(stored, fitted.pool)
    assert decisions(again, fitted.pool) == decisions(fitted.policy, fitted.pool)
    asked = [request for question in QUESTIONS for request in [Request.of(question)]]
    before = fitted.policy.quality.predict(asked, fitted.pool)
    after = again.policy.quality.predict(asked, fitted.pool)
    assert before.tobytes() == after.tobytes()


def test_the_manifest_says_what_it_is(fitted, stored):
    manifest = read_manifest(stored)
    assert manifest.policy == fitted.spec
    assert manifest.policy["quality"]["alpha"] == 10.0  # the defaults of the day are written out
    assert manifest.pool == fitted.pool
    assert manifest.pool.card("large").price == Price.per_million(1, 4)
    assert manifest.created_at == WHEN
    assert manifest.training["questions"] == 300
    assert len(manifest.training["data_sha256"]) == 64
    for name, facts in manifest.files.items():
        content = (stored / name).read_bytes()
        assert facts == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def test_the_same_training_gives_the_same_bytes(table, stored, fitted, tmp_path):
    again = fit(PLAN, Examples.of(table, pool=fitted.pool))
    assert save(tmp_path / "again", again, created_at=WHEN) == read_manifest(stored)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_any_changed_byte_is_found(stored, tmp_path_factory, place, flip):
    names = sorted(file.name for file in stored.iterdir())
    sizes = [(stored / name).stat().st_size for name in names]
    at = int(place * sum(sizes))
    name = names[int(np.searchsorted(np.cumsum(sizes), at, side="right"))]
    at -= sum(sizes[: names.index(name)])
    copy = tmp_path_factory.mktemp("flip") / "x.router"
    shutil.copytree(stored, copy)
    content = bytearray((copy / name).read_bytes())
    content[at] ^= flip
    (copy / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=name):
        load(copy)


def test_every_byte_of_the_manifest_counts(stored, copy):
    whole = (stored / "manifest.json").read_bytes()
    for at in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[at] ^= 0x20  # upper case, lower case and spaces among others
        (copy / "manifest.json").write_bytes(changed)
        with pytest.raises(ArtifactError):
            read_manifest(copy)


def test_a_longer_or_shorter_file_is_found(copy):
    for content in (b"", (copy / "quality.npz").read_bytes() + b"\0"):
        (copy / "quality.npz").write_bytes(content)
        with pytest.raises(ArtifactError, match=r"quality\.npz"):
            load(copy)


def test_a_missing_file_is_named(copy):
    (copy / "quality.json").unlink()
    with pytest.raises(ArtifactError, match=r"'quality\.json' is missing"):
        load(copy)


def test_an_extra_file_or_folder_is_refused(copy):
    (copy / "notes").mkdir()
    with pytest.raises(ArtifactError, match="'notes' is not part"):
        load(copy)


def test_a_link_is_no_file_of_an_artifact(copy, tmp_path):
    (copy / "quality.npz").rename(tmp_path / "elsewhere")
    (copy / "quality.npz").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match="missing"):
        load(copy)


def test_what_is_no_artifact_is_refused(tmp_path, copy):
    with pytest.raises(ArtifactError, match="no artifact"):
        load(tmp_path / "absent")
    forge(copy, lambda body: body.update(format="something else"))
    with pytest.raises(ArtifactError, match="not that of"):
        load(copy)


def test_another_version_is_refused_with_what_to_do(copy):
    forge(copy, lambda body: body.update(version=3))
    with pytest.raises(ArtifactError, match=r"version 3.*use the polyroute that wrote it"):
        load(copy)


def test_a_forged_artifact_imports_nothing(copy, tmp_path, monkeypatch):
    (tmp_path / "payload.py").write_text("raise SystemExit('ran')")
    monkeypatch.syspath_prepend(tmp_path)
    forge(copy, lambda body: body["policy"].update(name="payload:run"))
    with pytest.raises(ConfigError, match="no policies named 'payload:run'"):
        load(copy)
    spec = {"name": "cascade", "order": ["small"], "accept": "payload:run"}
    forge(copy, lambda body: body.update(policy=spec))
    with pytest.raises(ConfigError, match="import code"):
        load(copy)


def test_a_policy_that_learns_nothing_is_no_router(copy):
    forge(copy, lambda body: body.update(policy={"name": "fixed", "model": "small"}))
    with pytest.raises(ArtifactError, match="no policy that learns"):
        load(copy)


def test_a_pickled_array_is_not_read(copy):
    class Evil:
        def __reduce__(self):
            return (pytest.fail, ("ran",))

    for content in (pickle.dumps(Evil()), _npz_of_objects()):
        (copy / "quality.npz").write_bytes(content)
        facts = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        forge(copy, lambda body, facts=facts: body["files"].update({"quality.npz": facts}))
        with pytest.raises(ArtifactError, match="cannot be read"):
            load(copy)


def _npz_of_objects():
    import io

    packed = io.BytesIO()
    np.savez(packed, **{"0": np.array([{}], object)})
    return packed.getvalue()


@pytest.mark.parametrize("files", [{}, [], {"../../etc/passwd": {}}, {"quality.npz": 1}, None])
def test_a_forged_list_of_files_is_refused(copy, files):
    forge(copy, lambda body: body.update(files=files))
    with pytest.raises(ArtifactError):
        load(copy)


@pytest.mark.parametrize("key", ["pool", "policy", "training", "files", "created_at"])
def test_a_manifest_that_lacks_something_is_refused(copy, key):
    forge(copy, lambda body: body.pop(key))
    with pytest.raises(ConfigError):
        load(copy)


def test_cards_that_are_not_those_of_the_digest_are_refused(copy):
    forge(copy, lambda body: body["pool"]["cards"].reverse())
    with pytest.raises(ArtifactError, match="pool digest"):
        load(copy)


def test_the_pool_must_hold_every_card_and_may_hold_more(fitted, stored):
    more = Pool([ModelCard(id="new"), *fitted.pool])
    chosen = {call.model for one in decisions(load(stored, more), more) for call in one.calls}
    assert chosen <= {"small", "large"}
    with pytest.raises(ArtifactError, match="lacks 'large'"):
        load(stored, more.only(["new", "small"]))
    with pytest.raises(ArtifactError, match="lacks 'large'"):  # a name is not an id
        load(stored, Pool([ModelCard(id="small"), ModelCard(id="big", aliases=("large",))]))


def test_another_order_of_the_pool_is_the_same_router(fitted, stored):
    turned = Pool([*fitted.pool][::-1])
    asked = [one.calls for one in decisions(load(stored, turned), turned)]
    assert asked == [one.calls for one in decisions(fitted.policy, fitted.pool)]


def test_a_request_may_leave_cards_out(stored, fitted):
    only = fitted.pool.only(["small"])
    chosen = {call.model for one in decisions(load(stored), only) for call in one.calls}
    assert chosen == {"small"}


def test_a_pinned_digest_is_the_only_one_taken(stored):
    digest = read_manifest(stored).digest
    spec = {"name": "trained", "artifact": str(stored), "digest": digest}
    assert isinstance(construct("policies", spec, where="policy"), Trained)
    with pytest.raises(ArtifactError, match="another artifact"):
        Trained(str(stored), digest="0" * 64)


def test_an_artifact_is_replaced_and_nothing_else_is(stored, fitted, tmp_path, copy):
    save(copy, fitted, created_at="later")
    assert read_manifest(copy).created_at == "later"
    assert [entry.name for entry in tmp_path.iterdir()] == [copy.name]
    (tmp_path / "other").mkdir()
    with pytest.raises(ArtifactError, match="is no artifact"):
        save(tmp_path / "other", fitted, created_at=WHEN)


def test_a_failed_save_leaves_the_old_artifact(copy, fitted, monkeypatch, tmp_path):
    before = read_manifest(copy)

    def fail(path, content):
        raise OSError("disk full")

    monkeypatch.setattr(artifact_files, "write", fail)
    with pytest.raises(OSError, match="disk full"):
        save(copy, fitted, created_at="later")
    assert read_manifest(copy) == before
    assert [entry.name for entry in tmp_path.iterdir()] == [copy.name]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (State(arrays={"x": np.array([None])}), "holds objects"),
        (State(values={"x": float("nan")}), "JSON"),
        (State(values={"x": {1, 2}}), "JSON"),
    ],
)
def test_what_cannot_be_stored_is_refused(fitted, tmp_path, monkeypatch, state, said):
    monkeypatch.setattr(type(fitted.policy.quality), "state", lambda self: state)
    with pytest.raises(ArtifactError, match=said):
        save(tmp_path / "x", fitted, created_at=WHEN)
    assert not list(tmp_path.iterdir())


def test_a_router_that_has_not_learned_is_not_stored(fitted, tmp_path):
    unfitted = construct("policies", PLAN.policy, where="policy")
    kept = Fitted(policy=unfitted, spec=fitted.spec, pool=fitted.pool)
    with pytest.raises(NotFittedError):
        save(tmp_path / "x", kept, created_at=WHEN)


def test_arrays_keep_their_names_types_and_bits(told_state):
    name, state = told_state
    again = artifact_files.state_in(name, artifact_files.state_files(name, state))
    assert list(again.arrays) == list(state.arrays)
    for key, array in state.arrays.items():
        assert again.arrays[key].dtype == array.dtype
        assert again.arrays[key].tobytes() == array.tobytes()
    assert again.values == state.values


@pytest.fixture
def told_state():
    arrays = {
        "file": np.array([np.nan, -0.0, 1e-310]),
        "encoder/idf": np.arange(6, dtype=np.float32).reshape(2, 3),
        "words": np.array(["naïve", "日本"]),
        "none": np.zeros((0, 4), np.int64),
        "one": np.array(3),
    }
    return "quality", State(arrays=arrays, values={"v": [1, "\ud800", 0.1, None], "z": 1, "a": {}})


def test_a_policy_without_estimators_has_none():
    assert artifact.estimators_of(Fixed("m")) == {}


@pytest.mark.parametrize("said", ['"uersion": 2', '"version": "2"', '"version": null'])
def test_a_manifest_whose_version_cannot_be_read_was_changed(copy, said):
    manifest = copy / "manifest.json"
    content, found = re.subn(r'"version": \d+', said, manifest.read_text("utf-8"), count=1)
    assert found
    manifest.write_text(content, "utf-8")
    with pytest.raises(ArtifactError, match=r"'manifest\.json' was changed"):
        load(copy)
