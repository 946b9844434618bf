"""What can be known of the compose files, the Dockerfile and the dashboard without an engine."""

import functools
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import compose_spec
import pytest
import yaml
from prometheus_client import REGISTRY, CollectorRegistry

import batch_processor.metrics  # noqa: F401 # registers its metrics
from aimq.settings import PREFIX, Settings, load_settings
from interface.metrics import Metrics
from ml_service.metrics import ServiceMetrics

ROOT = Path(__file__).parents[2]
FILES = ("docker-compose.yml", "compose.observability.yml")
PORTS = {"interface": "interface_port", "ml-service": "ml_port", "batch-processor": "metrics_port"}
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?:(:?[-?])([^}]*))?\}|\$)")


def variables(path):
    lines = path.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@functools.cache
def example():
    """Return what `deploy/env` writes as .env."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "deploy").mkdir()
        shutil.copy(ROOT / "deploy/env", root / "deploy/env")
        shutil.copy(ROOT / ".env.example", root / ".env.example")
        subprocess.run([root / "deploy/env"], check=True, capture_output=True)
        first = (root / ".env").read_text()
        subprocess.run([root / "deploy/env"], check=True, capture_output=True)
        assert (root / ".env").read_text() == first, "written once"
        assert (root / ".env").stat().st_mode & 0o077 == 0
        return variables(root / ".env")


def interpolate(text, values):
    """Put variables in as compose does, as far as the files use it."""

    def value(match):
        name, operator, argument = match.groups()
        if name is None:
            return "$"
        given = values.get(name)
        if given or (given is not None and operator in {"-", "?", None}):
            return given
        assert operator in {"-", ":-"}, f"{name} has no value in .env.example and no default"
        return argument

    return _VARIABLE.sub(value, text)


def load(name, values=None):
    values = example() if values is None else values

    def filled(node):
        if isinstance(node, dict):
            return {key: filled(child) for key, child in node.items()}
        if isinstance(node, list):
            return [filled(child) for child in node]
        return interpolate(node, values) if isinstance(node, str) else node

    return filled(yaml.safe_load((ROOT / name).read_text()))


@pytest.fixture(scope="module")
def services():
    return {n: s for file in FILES for n, s in load(file)["services"].items()}


def test_the_compose_files_keep_to_the_specification():
    main, observability = map(load, FILES)
    compose_spec.PyCompose.from_json(json.dumps(main))
    # On its own it is no whole project: the networks are the other's.
    compose_spec.PyCompose.from_json(json.dumps(observability | {"networks": main["networks"]}))


def test_a_wrong_key_is_against_the_specification():
    wrong = load(FILES[0])
    wrong["services"]["redis"]["restrat"] = "always"
    with pytest.raises(ValueError, match="restrat"):
        compose_spec.PyCompose.from_json(json.dumps(wrong))


def test_nothing_starts_without_secrets():
    for file in FILES:
        needed = set(re.findall(r"\$\{(\w+):\?", (ROOT / file).read_text()))
        given = variables(ROOT / ".env.example")
        assert needed
        assert needed <= {name for name, value in given.items() if value == ""}


def test_the_command_for_secrets_gives_each_a_value_of_its_own():
    given = variables(ROOT / ".env.example")
    made = {name: value for name, value in example().items() if given[name] == ""}
    assert len(made) >= 6
    assert all(len(value) >= 32 for value in made.values())
    assert len(set(made.values())) == len(made)
    assert {n: v for n, v in example().items() if n not in made} == {
        n: v for n, v in given.items() if v
    }


def test_what_is_built_here_is_pulled_from_nowhere(services):
    built = services["etl"]["image"]
    ours = [service for service in services.values() if service["image"] == built]
    assert len(ours) == 4
    assert all(service["pull_policy"] == "never" for service in ours)


def test_a_container_that_cannot_work_is_not_healthy(services):
    for name in PORTS:
        assert "/health/ready'" in services[name]["healthcheck"]["test"][3], name


def test_every_variable_of_the_services_is_a_setting(services):
    settings = {PREFIX + name.upper() for name in Settings.model_fields}
    for name, service in services.items():
        ours = {n for n in service.get("environment", {}) if n.startswith(PREFIX)}
        assert ours <= settings, name
    image = set(re.findall(rf"\b{PREFIX}\w+(?==)", (ROOT / "Dockerfile").read_text()))
    assert image
    assert image <= settings


def test_the_services_start_with_the_secrets_that_were_made(services, monkeypatch):
    for name, value in services["interface"]["environment"].items():
        monkeypatch.setenv(name, value)
    assert load_settings().broker_url.startswith("amqp://")


def test_every_image_is_pinned(services):
    for name, service in services.items():
        assert re.search(r":v?\d+\.\d+\.\d+[\w.-]*$", service["image"]), name
    base = re.search(r"^ARG PYTHON_IMAGE=(.+)$", (ROOT / "Dockerfile").read_text(), re.M)[1]
    assert re.search(r":\d+\.\d+\.\d+-slim", base)
    assert services["etl"]["build"]["args"]["PYTHON_IMAGE"] == base


def test_every_port_and_probe_is_one_of_the_service(services):
    for name, field in PORTS.items():
        port = Settings.model_fields[field].default
        assert re.search(rf":{port}/health/(ready|live)'", services[name]["healthcheck"]["test"][3])
        for published in services[name].get("ports", []):
            assert published.endswith(f":{port}:{port}")


def test_only_the_door_the_models_and_the_pages_are_published_and_on_loopback(services):
    published = {port for service in services.values() for port in service.get("ports", [])}
    assert {port.rpartition(":")[2] for port in published} == {
        "8080",
        "5001",
        "15672",
        "3000",
        "9090",
    }
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_stores_and_queue_have_no_way_to_the_outside(services):
    networks = load(FILES[0])["networks"]
    inner = {name for name, network in networks.items() if network.get("internal")}
    for name in ("redis", "redisai"):
        assert set(services[name]["networks"]) <= inner
    assert services["etl"]["network_mode"] == "none"


def test_every_service_is_bounded_and_says_whether_it_is_well(services):
    for name, service in services.items():
        assert {"mem_limit", "cpus", "restart"} <= service.keys(), name
        assert "healthcheck" in service or service["restart"] == "no", name


def test_our_containers_have_few_rights_and_the_time_that_draining_takes(services):
    for name in (*PORTS, "etl"):
        service = services[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        grace = float(service["stop_grace_period"].removesuffix("s"))
        assert grace >= Settings.model_fields["shutdown_seconds"].default + 5


def test_who_waits_for_whom_exists_and_has_a_check(services):
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in services, name
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[other], (name, other)


def test_redisai_is_left_out_by_its_profile_and_one_setting(services):
    assert services["redisai"]["profiles"] == ["redisai"]
    without = load(FILES[0], example() | {"AIMQ_REDISAI_URL": "", "COMPOSE_PROFILES": ""})
    assert without["services"]["ml-service"]["environment"]["AIMQ_REDISAI_URL"] == ""
    assert "redisai" not in without["services"]["ml-service"]["depends_on"]


def test_the_dockerfile_is_clean():
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_what_the_image_is_built_from_goes_to_the_builder():
    kept = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.M)
    assert {path for line in copied for path in line.split()} == kept
    assert all((ROOT / path).exists() for path in kept)


def metric_names():
    """Return the names of every sample the services can export, without histograms' suffixes."""
    ml = CollectorRegistry()
    ServiceMetrics(ml).route("/predict/onnx")
    families = [f for r in (Metrics().registry, ml, REGISTRY) for f in r.collect()]
    return {f.name for f in families} | {
        "process_cpu_seconds",
        "process_resident_memory_bytes",
        "up",
    }


def test_the_dashboard_and_the_alerts_use_metrics_that_exist():
    dashboard = json.loads((ROOT / "deploy/grafana/dashboards/aimq.json").read_text())
    expressions = [t["expr"] for panel in dashboard["panels"] for t in panel["targets"]]
    alerts = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())
    expressions += [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]
    used = {n for e in expressions for n in re.findall(r"\b(?:aimq|process)_\w+", e)}
    assert len(used) > 10
    assert {re.sub(r"_(total|bucket|count|sum)$", "", name) for name in used} <= metric_names()


def test_prometheus_asks_every_service_at_its_port():
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    targets = {
        name: sd["port"]
        for job in config["scrape_configs"] for sd in job["dns_sd_configs"] for name in sd["names"]
    }  # fmt: skip
    assert targets == {n: Settings.model_fields[f].default for n, f in PORTS.items()}


def test_what_grafana_is_given_is_where_it_is_told(services):
    mounts = {v.split(":")[1]: v.split(":")[0] for v in services["grafana"]["volumes"]}
    provider = yaml.safe_load(
        (ROOT / "deploy/grafana/provisioning/dashboards/aimq.yml").read_text()
    )
    folder = provider["providers"][0]["options"]["path"]
    assert list((ROOT / mounts[folder]).glob("*.json"))
    source = yaml.safe_load(
        (ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text()
    )["datasources"][0]
    dashboard = json.loads((ROOT / "deploy/grafana/dashboards/aimq.json").read_text())
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {source["uid"]}
