"""What is deployed, by itself: it is well-formed, locked down, and one part fits the other."""

import configparser
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from polyroute.cli.production import unready
from polyroute.config import parse
from polyroute.config.server import ServerSettings

DEPLOY = Path(__file__).parents[2] / "deploy"
ROOT = DEPLOY.parent
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
KUBERNETES = "1.32"


def manifests(kind=None):
    found = [one for file in MANIFESTS for one in yaml.safe_load_all(file.read_text())]
    return [one for one in found if kind is None or one["kind"] == kind]


def pods():
    (deployment,), (job,) = manifests("Deployment"), manifests("CronJob")
    return [
        deployment["spec"]["template"]["spec"],
        job["spec"]["jobTemplate"]["spec"]["template"]["spec"],
    ]


def instructions():
    """Return the instructions of the container file, a list for each stage."""
    text = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ")
    stages = [[]]
    for line in text.splitlines():
        if line.startswith("FROM "):
            stages.append([])
        if line and not line.startswith("#"):
            word, _, rest = line.strip().partition(" ")
            stages[-1].append((word, rest.strip()))
    return stages


def compose():
    return yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())


def unit(name):
    parsed = configparser.RawConfigParser(strict=False)
    parsed.optionxform = str
    parsed.read(DEPLOY / "systemd" / name)
    return parsed


def test_yaml_has_nothing_a_linter_minds():
    config = pytest.importorskip("yamllint.config")
    linter = pytest.importorskip("yamllint.linter")
    rules = config.YamlLintConfig(file=str(DEPLOY / "yamllint.yaml"))
    files = sorted(DEPLOY.rglob("*.yaml"))
    assert len(files) >= 7
    problems = [(str(f), str(p)) for f in files for p in linter.run(f.read_text(), rules, str(f))]
    assert problems == []


@pytest.mark.parametrize("manifest", manifests(), ids=lambda one: one["kind"])
def test_manifests_fit_the_schema_of_kubernetes(manifest):
    validator = pytest.importorskip("kubernetes_validate")
    validator.validate(manifest, KUBERNETES, strict=True)


def test_the_validator_would_have_found_a_misspelt_field():
    validator = pytest.importorskip("kubernetes_validate")
    (service,) = manifests("Service")
    with pytest.raises(validator.ValidationError):
        validator.validate({**service, "spek": {}}, KUBERNETES, strict=True)


def test_pods_run_as_nobody_with_nothing_to_write_to():
    for pod in pods():
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["containers"]
        allowed = container["securityContext"]
        assert allowed["allowPrivilegeEscalation"] is False
        assert allowed["readOnlyRootFilesystem"] is True
        assert allowed["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        assert not container["image"].endswith((":latest", "polyroute"))
        mounted = {one["name"] for one in container["volumeMounts"]}
        assert mounted == {one["name"] for one in pod["volumes"]}


def test_what_selects_pods_selects_the_servers_and_not_the_purge():
    (deployment,), (job,) = manifests("Deployment"), manifests("CronJob")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        manifests("Service")[0]["spec"]["selector"],
        manifests("PodDisruptionBudget")[0]["spec"]["selector"]["matchLabels"],
    ]
    others = job["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
    for selector in selectors:
        assert selector.items() <= labels.items()
        assert not selector.items() <= others.items()
    target = manifests("HorizontalPodAutoscaler")[0]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    assert "replicas" not in deployment["spec"]  # else each deployment undoes the autoscaler


def test_a_pod_has_time_to_drain():
    (deployment,) = manifests("Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    grace = served(kubernetes=True).server.grace_s
    assert pod["terminationGracePeriodSeconds"] > pause + grace
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)


def served(*, kubernetes):
    if kubernetes:
        text = manifests("ConfigMap")[0]["data"]["polyroute.yaml"]
    else:
        text = (DEPLOY / "compose" / "polyroute.yaml").read_text()
    return parse(text, name="deployed")


@pytest.mark.parametrize("kubernetes", [False, True])
def test_what_is_deployed_is_ready_but_for_the_keys(kubernetes, tmp_path, monkeypatch):
    monkeypatch.setenv("POLYROUTE_HOME", str(tmp_path))
    for variable in ("LARGE_KEY", "REDIS_PASSWORD", "POLYROUTE_RECORDS_URL"):
        monkeypatch.setenv(variable, "given")
    monkeypatch.setattr(os, "geteuid", lambda: 10001)
    file = tmp_path / "polyroute.yaml"
    settings = served(kubernetes=kubernetes)
    file.write_text(json.dumps(settings.model_dump(mode="json", exclude_none=True)))
    file.chmod(0o644)
    found = unready(settings, file)
    subjects = {one.subject for one in found if one.level == "error"}
    # keys are made where it runs; Redis has its password, and is asked within the deployment
    assert subjects == {"keys"}


def test_the_two_configurations_differ_in_their_paths_only():
    one, other = (served(kubernetes=k).model_dump(exclude={"access"}) for k in (False, True))
    assert one == other


def test_the_image_is_slim_and_its_user_is_not_root():
    arguments, build, final = instructions()
    base = dict(arguments)["ARG"].removeprefix("BASE=")
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", base)
    assert build[0] == ("FROM", "${BASE} AS build")
    assert final[0] == ("FROM", "${BASE}")
    said = dict(final)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", said["USER"])
    assert said["STOPSIGNAL"] == "SIGTERM"
    words = [word for word, _ in final]
    assert words.index("USER") < words.index("ENTRYPOINT")
    assert "ADD" not in words
    runs = " ".join(rest for word, rest in final if word == "RUN")
    assert not re.search(r"apt|gcc|pip install|curl|chmod 777|sudo", runs)
    assert all(rest.startswith("--from=build") for word, rest in final if word == "COPY")
    for word in ("ENTRYPOINT", "CMD"):
        assert isinstance(json.loads(said[word]), list)  # no shell between signals and the server
    probe = json.loads(re.search(r"CMD (\[.*\])", said["HEALTHCHECK"])[1])
    assert "/health" in probe[-1]
    assert compile(probe[-1], "probe", "exec")
    assert any("--constraint constraints.txt" in rest for word, rest in build if word == "RUN")


def test_what_the_image_copies_is_let_into_its_context():
    ignored = (DEPLOY / "Containerfile.dockerignore").read_text().splitlines()
    _, build, _ = instructions()
    copied = [rest.split()[:-1] for word, rest in build if word == "COPY"]
    names = [name.removeprefix("./") for each in copied for name in each]
    assert ignored[0] == "*"
    assert {f"!{name}" for name in names} <= set(ignored)
    assert all((ROOT / name).exists() for name in names)


def test_the_same_user_in_the_image_and_in_the_pods():
    _, _, final = instructions()
    user, group = map(int, dict(final)["USER"].split(":"))
    for pod in pods():
        said = pod["securityContext"]
        assert (said["runAsUser"], said["runAsGroup"], said["fsGroup"]) == (user, group, group)


def test_compose_has_no_secret_in_it_and_opens_nothing_to_the_world():
    services = compose()["services"]
    for name in ("polyroute", "purge"):
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
    assert services["polyroute"]["ports"] == ["127.0.0.1:8080:8080"]
    assert not any("ports" in services[name] for name in ("redis", "postgres"))
    for service in services.values():
        assert ":" in service["image"]
        assert not service["image"].endswith(":latest")
        for name, value in service.get("environment", {}).items():
            assert "PASSWORD" not in name or value.startswith("${"), name
    text = (DEPLOY / "compose" / "compose.yaml").read_text()
    wanted = set(re.findall(r"\$\{(\w+):\?", text))
    example = (DEPLOY / "compose" / "environment.example").read_text()
    assert wanted == set(re.findall(r"^(\w+)=$", example, re.MULTILINE))


def test_every_variable_that_is_named_is_given():
    settings = served(kubernetes=False)
    given = set(compose()["services"]["polyroute"]["environment"])
    named = {settings.records.url_env, settings.state.password_env}
    for card in settings.pool:
        named |= {one["key_env"] for one in card.backend["instances"] if "key_env" in one}
    assert named <= given


def test_the_unit_drains_reloads_and_is_locked_down():
    service = unit("polyroute.service")["Service"]
    assert service["User"] == "polyroute"
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert float(service["TimeoutStopSec"]) > ServerSettings().grace_s
    for switch in ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "PrivateDevices"):
        assert service[switch] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    assert service["UMask"] == "0077"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_finds_the_units_sound_and_little_exposed(tmp_path):
    for file in (DEPLOY / "systemd").iterdir():
        # the program is installed elsewhere on a real machine
        text = file.read_text().replace("/opt/polyroute/bin/polyroute", "/bin/true")
        (tmp_path / file.name).write_text(text)
    units = [str(file) for file in sorted(tmp_path.iterdir())]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    exposed = ["systemd-analyze", "security", "--offline=true", "--threshold=20"]
    server = str(tmp_path / "polyroute.service")
    done = subprocess.run([*exposed, server], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("docker") is None, reason="needs docker")
def test_compose_reads_the_file(tmp_path):
    (tmp_path / "env").write_text("REDIS_PASSWORD=a\nPOSTGRES_PASSWORD=b\nLARGE_KEY=c\n")
    command = ["docker", "compose", "--env-file", str(tmp_path / "env"), "config", "--quiet"]
    if subprocess.run(
        ["docker", "compose", "version"], capture_output=True, check=False
    ).returncode:
        pytest.skip("this docker has no compose")
    done = subprocess.run(
        command, cwd=DEPLOY / "compose", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
