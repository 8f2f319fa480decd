"""What the process of `polyroute.correctness.code` runs: limits first, then the program.

It is given to a bare interpreter as text, and imports nothing of this package.
"""

import json
import os
import resource
import sys

__all__ = ["main"]

_REFUSED = (
    "socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn",
    "os.kill", "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink",
    "os.chmod", "os.chown", "os.truncate", "shutil.", "ctypes.", "pty.", "ftplib.", "urllib.",
    "webbrowser.", "signal.pthread_kill",
)  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    """Stop what a question's code has no need of.

    Raises
    ------
    PermissionError
        If `event` is such a thing.
    """
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING
    if writes or event.startswith(_REFUSED):
        raise PermissionError(f"{event} is not allowed here")


def main() -> None:
    """Read the task from standard input, run it, and say its token when every test has passed."""
    task = json.loads(sys.stdin.buffer.read())
    seconds, bytes_ = int(task["seconds"]) + 1, task["mb"] << 20
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (bytes_, bytes_))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
    out = os.dup(1)
    quiet = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(quiet, stream)
    sys.addaudithook(_refuse)
    names: dict[str, object] = {"__name__": "__main__"}
    exec(compile(task["program"], "answer", "exec"), names)
    exec(compile(task["tests"], "tests", "exec"), names)
    os.write(out, task["token"].encode())


if __name__ == "__main__":
    main()
