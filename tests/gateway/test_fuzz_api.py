"""Whatever is asked of the API as its document describes it, the answer is a typed one."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("schemathesis", reason="schemathesis is not installed")


@pytest.mark.slow
def test_schemathesis_finds_no_crash_and_no_answer_that_the_document_does_not_know(
    server: Any, tmp_path: Any
) -> None:
    (tmp_path / "schemathesis.toml").write_text("")
    checks = ["not_a_server_error", "status_code_conformance", "content_type_conformance"]
    checks += ["response_schema_conformance"]
    run = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            *("--url", server.url, "--checks", ",".join(checks)),
            *("--max-examples", os.environ.get("POLYROUTE_FUZZ_EXAMPLES", "10")),
            *("--phases", "examples,coverage,fuzzing", "--seed", "5", "--no-color"),
            f"{server.url}/openapi.json",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
