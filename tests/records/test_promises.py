"""What is owed to a store survives the process, and is named."""

import os
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from polyroute.records.promises import Promises, promised


def test_what_was_promised_and_not_kept_is_known_after_the_process_was_killed(tmp_path):
    path = tmp_path / "records.sqlite"
    program = (
        "import os, sys; from pathlib import Path; from polyroute.records.promises import Promises;"
        "p = Promises(Path(sys.argv[1])); [p.make(f't-{k}') for k in range(5)];"
        "p.keep(['t-1', 't-3']); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program, path], check=False)
    assert done.returncode == -9
    owed = promised(path)
    assert {"t-0", "t-2", "t-4"} <= set(owed), "kept ones may still be listed: the store has them"
    assert len(set(owed.values())) == 1


def test_nothing_is_left_of_promises_that_were_kept(tmp_path):
    promises = Promises(tmp_path / "records.jsonl")
    promises.make("a")
    assert promised(tmp_path / "records.jsonl") == {"a": os.getpid()}
    promises.keep(["a"])
    assert promised(tmp_path / "records.jsonl") == {}
    promises.close()
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.tuples(st.booleans(), st.text(min_size=1, max_size=8))))
def test_no_open_promise_is_ever_forgotten(steps):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.sqlite"
        promises, expected = Promises(path), set()
        for make, id in steps:
            if make:
                promises.make(id)
                expected.add(id.replace("\n", " "))
            else:
                promises.keep([id])
                expected.discard(id.replace("\n", " "))
            if "\n" not in id:
                assert expected <= set(promised(path)) | {i for i in expected if "\n" in i}
        promises.close()
