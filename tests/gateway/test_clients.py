"""Clients that other people wrote, as they were published, against a running server.

They are installed once into a folder for temporary files; where they cannot be, the tests say so.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import venv
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent / "clients"
PYTHON = (
    "anthropic>=0.40", "openai>=2.0", "langchain-openai>=1.0", "llama-index-llms-openai-like>=0.5",
    "llm>=0.26",
)  # fmt: skip
NODE = ("openai@>=5",)


def folder(kind: str, wanted: tuple[str, ...]) -> Path:
    given = os.environ.get("POLYROUTE_CLIENTS")
    name = hashlib.sha256(" ".join(wanted).encode()).hexdigest()[:12]
    at = Path(given) if given else Path(tempfile.gettempdir()) / "polyroute-clients"
    return at / f"{kind}-{name}"


def install(command: list[str], cwd: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=500, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"clients cannot be installed: {error}")
    if done.returncode:
        pytest.skip(f"clients cannot be installed: {done.stderr[-500:]}")


@pytest.fixture(scope="session")
def python() -> Path:
    """Return the interpreter of an environment with the clients."""
    at = folder("python", PYTHON)
    interpreter = at / "bin" / "python"
    if not (at / "whole").exists():
        shutil.rmtree(at, ignore_errors=True)
        venv.create(at, with_pip=True)
        install([str(interpreter), "-m", "pip", "install", "-q", *PYTHON], at)
        (at / "whole").touch()
    return interpreter


@pytest.fixture(scope="session")
def node() -> Path:
    """Return a folder with the client for Node."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    at = folder("node", NODE)
    if not (at / "whole").exists():
        shutil.rmtree(at, ignore_errors=True)
        at.mkdir(parents=True)
        (at / "package.json").write_text('{"type": "module", "private": true}')
        install(["npm", "install", "--no-audit", "--no-fund", *NODE], at)
        (at / "whole").touch()
    return at


def succeed(command: list[str], **options: Any) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, check=False, **options
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("name", ["anthropic", "langchain", "llama_index"])
def test_a_client_for_python_works_unchanged(server: Any, python: Path, name: str) -> None:
    succeed([str(python), str(HERE / f"with_{name}.py"), server.url])


def test_the_client_for_node_works_unchanged(server: Any, node: Path) -> None:
    shutil.copy(HERE / "with_openai.mjs", node)
    succeed(["node", "with_openai.mjs", server.url], cwd=node)


def test_the_program_llm_works_with_a_few_lines_of_configuration(
    server: Any, python: Path, tmp_path: Path
) -> None:
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: routed\n  model_name: polyroute\n  api_base: {server.url}/v1\n"
    )
    env = {**os.environ, "LLM_USER_PATH": str(tmp_path), "OPENAI_API_KEY": "a-key"}
    for streamed in ([], ["--no-stream"]):
        said = succeed([str(python), "-m", "llm", "-m", "routed", *streamed, "hello"], env=env)
        assert said.strip() == "[1] Hello world"


def test_curl_is_answered_and_streamed_to(server: Any) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    body = {"model": "polyroute", "messages": [{"role": "user", "content": "hello"}]}
    post = ["curl", "-sSf", "-N", f"{server.url}/v1/chat/completions"]
    post += ["-H", "content-type: application/json", "-H", "x-polyroute-max-usd: 0.5"]
    said = json.loads(succeed([*post, "-d", json.dumps(body)]))
    assert said["choices"][0]["message"]["content"] == "[1] Hello world"
    streamed = succeed([*post, "-d", json.dumps({**body, "stream": True})])
    assert streamed.startswith("data: ")
    assert streamed.endswith("data: [DONE]\n\n")
