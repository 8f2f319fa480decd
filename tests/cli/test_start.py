"""What a start costs, told by what it does not import."""

import os
import subprocess
import sys

import pytest

HEAVY = {"torch", "sklearn", "scipy", "starlette", "uvicorn", "litellm", "aiohttp", "xllamacpp"}
MAIN = "from polyroute.cli import main; main()"
IMPORTED = "import sys; print(*{name.partition('.')[0] for name in sys.modules})"

SERVED = """
version: 1
pool: [{id: small, backend: {name: openai, instances: [{url: "http://127.0.0.1:1/v1", model: m}]}}]
policy: {name: fixed, model: small}
"""


def imported_by(program):
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\n{IMPORTED}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split())


def test_importing_the_package_brings_msgspec_and_the_standard_library_only():
    before = imported_by("")
    brought = imported_by("import polyroute") - before - set(sys.stdlib_module_names)
    assert brought - {"typing_extensions"} == {"polyroute", "msgspec"}


def test_a_server_that_estimates_nothing_holds_neither_numpy_nor_a_client_it_does_not_use():
    modules = imported_by(
        "from polyroute.cli import serve\n"
        "from polyroute.config import build, parse\n"
        "from polyroute.gateway.app import create_app\n"
        f"create_app(build(parse({SERVED!r}, name='it')))"
    )
    assert "starlette" in modules
    assert not modules & {*HEAVY - {"starlette", "uvicorn"}, "numpy"}


def test_help_imports_no_command():
    modules = imported_by(
        "import sys\nfrom polyroute.cli import main\nsys.argv = ['polyroute', '--help']\n"
        "try: main()\nexcept SystemExit: pass"
    )
    assert not modules & (HEAVY | {"pydantic", "yaml", "rich"})


@pytest.mark.parametrize("command", [[], ["trace"], ["pool"], ["config"]])
def test_a_group_lists_its_commands(run, command):
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "Commands:" in result.stdout


def test_an_unknown_command_is_wrong_usage_and_names_the_nearest(run):
    result = run("trase", "list")
    assert result.exit_code == 2
    assert "trace" in result.stderr
    assert result.stdout == ""


def test_the_version_is_data(run):
    assert run("--version").stdout.startswith("polyroute 0.")


def test_the_shell_completes_a_command_of_a_group():
    asked = {"COMP_WORDS": "polyroute trace re", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv[0] = 'polyroute'\n" + MAIN],
        env={**os.environ, **asked, "_POLYROUTE_COMPLETE": "complete_bash"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["replay"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_an_output_that_is_full_is_one_clean_message():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", MAIN, "policies"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "error: No space left on device\n"
