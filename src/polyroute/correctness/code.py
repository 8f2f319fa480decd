"""Python code in the reply, run against assertions in a process of its own.

The one decision here: what a model wrote runs as little as possible. A separate interpreter without
site-packages and environment, in an empty folder, with limits on time, memory, files and
processes; sockets, other processes, ctypes and writing to files are refused. This stops accidents
and careless code. It is no wall against an attacker: run untrusted models' code in a container.
"""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from polyroute.errors import ConfigError

__all__ = ["MEMORY_MB", "SECONDS", "passes", "score"]

SECONDS = 5.0
"""Time limit, of the wall clock and of the processor."""
MEMORY_MB = 512


def score(answer: str, golds: Sequence[str]) -> float:
    r"""Return 1 when the code of the answer passes all of `golds`, which are assertions.

    The code is the last fenced block of the reply, else all of it.

    References
    ----------
    Chen et al., Codex, arXiv:2107.03374; Austin et al., MBPP, arXiv:2108.07732: assertions decide.

    Raises
    ------
    ConfigError
        If there is no assertion, or the system has no resource limits (Windows).

    Examples
    --------
    >>> score("```python\ndef double(x):\n    return 2 * x\n```", ["assert double(2) == 4"])
    1.0
    """
    if not golds:
        raise ConfigError("the metric 'code' needs assertions as golds, got none")
    blocks = _FENCED.findall(answer)
    return float(passes(blocks[-1] if blocks else answer, "\n".join(golds)))


_FENCED = re.compile(r"```[\w+-]*[ \t]*\r?\n(.*?)```", re.DOTALL)


def passes(
    program: str, tests: str, *, seconds: float = SECONDS, memory_mb: int = MEMORY_MB
) -> bool:
    """Return whether `tests` run to their end after `program`.

    Parameters
    ----------
    program, tests : str
        Python source; both run in one namespace.
    seconds : float, default=5.0
    memory_mb : int, default=512

    Raises
    ------
    ConfigError
        If the system has no resource limits.
    """
    if os.name != "posix":
        raise ConfigError("running code needs a system with resource limits (Linux, macOS)")
    token = secrets.token_hex(16)  # said only after the last test: an early exit is no pass
    task = json.dumps(
        {"program": program, "tests": tests, "token": token, "seconds": seconds, "mb": memory_mb}
    )
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _RUNNER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={},
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(task.encode(), timeout=seconds + 1)
        except subprocess.TimeoutExpired:
            return False
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # it leads a group of its own
                process.communicate()
    return said.decode("utf-8", "replace").strip() == token


_RUNNER = Path(__file__).with_name("code_runner.py").read_text("utf-8")
