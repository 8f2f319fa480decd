import time

import pytest

from polyroute.correctness.code import passes, score
from polyroute.errors import ConfigError

DOUBLE = "def double(x):\n    return 2 * x\n"


def test_right_code_passes_and_wrong_code_does_not():
    tests = ["assert double(2) == 4", "assert double(0) == 0"]
    assert score(f"Here it is:\n```python\n{DOUBLE}```\nDone.", tests) == 1.0
    assert score(DOUBLE, tests) == 1.0
    assert score(DOUBLE.replace("2 * x", "x * x"), ["assert double(3) == 6"]) == 0.0


def test_the_last_block_counts():
    wrong = "```\ndef double(x):\n    return x\n```"
    assert score(f"First {wrong} then\n```py\n{DOUBLE}```", ["assert double(1) == 2"]) == 1.0


@pytest.mark.parametrize(
    "program",
    [
        "def double(x",
        "raise SystemExit(0)",
        "import os\nos._exit(0)",
        "import socket\nsocket.socket()",
        "import subprocess\nsubprocess.run(['true'])",
        "import os\nos.system('true')",
        "import os\nos.fork()",
        "open('file', 'w')",
        "import os\nos.open('file', os.O_CREAT)",
        "import os\nos.remove('/nowhere')",
        "import ctypes\nctypes.CDLL(None)",
        "x = 'x' * (1 << 30)",
        "import numpy",
        "assert __name__ == '__main__'\ninput()",
    ],
)
def test_what_breaks_or_is_not_allowed_does_not_pass(program):
    assert not passes(f"{DOUBLE}\n{program}", "assert double(1) == 2")


def test_printing_and_reading_do_no_harm():
    program = f"import sys, math\nprint('a' * 100_000)\nsys.stderr.write('b')\n{DOUBLE}"
    assert passes(program, "assert double(1) == 2\nassert math.pi > 3")


def test_code_without_end_is_stopped():
    start = time.monotonic()
    assert not passes("while True: pass", "", seconds=0.2)
    assert time.monotonic() - start < 10


def test_the_environment_of_the_caller_is_not_seen(monkeypatch):
    monkeypatch.setenv("A_KEY", "secret")
    assert passes("import os", "assert 'A_KEY' not in os.environ")


def test_without_assertions_there_is_nothing_to_judge_by():
    with pytest.raises(ConfigError, match="assertions"):
        score(DOUBLE, [])
