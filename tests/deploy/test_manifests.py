"""What can be known of the manifests without a cluster."""

import base64
import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import jsonschema
import kubernetes_validate
import pytest

from aimq import __version__
from aimq.settings import EXAMPLE_SECRET, PREFIX, Settings
from tests.deploy.manifests import (
    PRODUCTION,
    ROOT,
    add_secrets,
    containers,
    copy,
    named,
    pods,
)

#: The oldest one still patched when this was written, one between, and the newest.
KUBERNETES = ("1.34", "1.36", "1.37")
CUSTOM = {"keda.sh", "rabbitmq.com"}
SCHEMAS = Path(__file__).with_name("schemas")
#: The port and the probes of each of our services: what the code says.
PROBES = ("/health/live", "/health/ready", "/metrics")
PORTS = {"interface": "interface_port", "ml-service": "ml_port", "batch-processor": "metrics_port"}
#: What a service cannot finish without.
NEEDED = {
    "interface": {"broker_url", "store_url", "internal_token", "api_keys", "files_url", "ml_url"},
    "batch-processor": {"broker_url", "store_url", "internal_token", "files_url", "ml_url"},
    "ml-service": {"internal_token", "api_keys"},
}


def group(resource):
    return resource["apiVersion"].rpartition("/")[0]


@pytest.mark.parametrize("version", KUBERNETES)
def test_every_resource_is_what_the_api_of_that_version_takes(resources, version):
    checked = 0
    for resource in resources:
        if group(resource) not in CUSTOM:
            kubernetes_validate.validate(resource, version, strict=True)
            checked += 1
    assert checked > 20


def custom_schema(resource):
    version = resource["apiVersion"].rpartition("/")[2]
    name = f"{resource['kind'].lower()}-{group(resource).split('.')[0]}-{version}.json"
    return json.loads((SCHEMAS / name).read_text())


def test_every_custom_resource_is_what_its_definition_takes(overlays):
    custom = [r for r in overlays["production"] if group(r) in CUSTOM]
    assert {r["kind"] for r in custom} == {
        "ScaledObject",
        "TriggerAuthentication",
        "RabbitmqCluster",
    }
    for resource in custom:
        jsonschema.validate(resource, custom_schema(resource))


def test_a_wrong_field_of_a_custom_resource_is_noticed(overlays):
    [scaled] = named(overlays["production"], "ScaledObject").values()
    wrong = scaled | {"spec": scaled["spec"] | {"maxReplicas": 3}}
    with pytest.raises(jsonschema.ValidationError, match="maxReplicas"):
        jsonschema.validate(wrong, custom_schema(wrong))


def environment(container, resources):
    """Return the names a container's environment has, and refuse references to nothing."""
    config, secret = named(resources, "ConfigMap"), named(resources, "Secret")
    names = set()
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            names |= config[source["configMapRef"]["name"]]["data"].keys()
        else:
            names |= secret[source["secretRef"]["name"]]["data"].keys()
    for variable in container.get("env", []):
        names.add(variable["name"])
        reference = variable.get("valueFrom", {}).get("secretKeyRef")
        if reference:
            assert reference["key"] in secret[reference["name"]]["data"], variable
    return names


def test_every_reference_to_config_and_secrets_resolves_and_every_variable_is_a_setting(resources):
    settings = {PREFIX + name.upper() for name in Settings.model_fields}
    for name, container, _ in containers(resources):
        ours = {n for n in environment(container, resources) if n.startswith(PREFIX)}
        assert ours <= settings, name
        service = name.rpartition("/")[2]
        assert {PREFIX + n.upper() for n in NEEDED.get(service, ())} <= ours, name


def test_only_who_needs_a_secret_gets_it(resources):
    who = {
        service: environment(container, resources)
        for name, container, _ in containers(resources)
        for service in [name.rpartition("/")[2]]
    }
    assert {s for s in who if "AIMQ_API_KEYS" in who[s]} == {"interface", "ml-service"}
    assert {s for s in who if "AIMQ_BROKER_URL" in who[s]} == {"interface", "batch-processor"}
    assert not who["etl"]


def test_custom_resources_name_secrets_that_exist(overlays):
    secrets = named(overlays["production"], "Secret")
    [authentication] = named(overlays["production"], "TriggerAuthentication").values()
    for reference in authentication["spec"]["secretTargetRef"]:
        assert reference["key"] in secrets[reference["name"]]["data"]
    [scaled] = named(overlays["production"], "ScaledObject").values()
    for trigger in scaled["spec"]["triggers"]:
        assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]


def test_keda_scales_by_queues_that_exist(overlays):
    from aimq.broker.topology import WORK_QUEUES  # noqa: PLC0415 # read where it is needed

    [scaled] = named(overlays["production"], "ScaledObject").values()
    queues = {trigger["metadata"]["queueName"] for trigger in scaled["spec"]["triggers"]}
    assert queues == set(WORK_QUEUES)


def test_another_namespace_can_look_up_the_host_that_keda_is_given(overlays):
    """KEDA asks from a namespace of its own, where a bare service name means nothing."""
    for resources in overlays.values():
        [namespace] = named(resources, "Namespace")
        [secret] = (s for n, s in named(resources, "Secret").items() if n.startswith("aimq"))
        url = base64.b64decode(secret["data"]["AIMQ_BROKER_URL"]).decode()
        assert urlsplit(url).hostname == f"rabbitmq.{namespace}.svc"


def test_all_of_it_fits_on_one_node_with_two_processors(overlays):
    wanted = sum(
        int(container["resources"]["requests"]["cpu"].removesuffix("m"))
        for _, container, _ in containers(overlays["local"])
    )
    assert wanted <= 1150  # what such a node has left beside what the cluster itself runs


def test_an_address_of_queue_and_store_outlives_their_pods(overlays):
    services = named(overlays["local"], "Service")
    for name in ("rabbitmq", "redis"):
        assert services[name]["spec"].get("clusterIP") != "None"


def test_every_deployment_has_one_scaler_at_most_which_alone_sets_its_replicas(resources):
    scaled = [r["spec"]["scaleTargetRef"]["name"] for r in resources
              if r["kind"] in {"HorizontalPodAutoscaler", "ScaledObject"}]  # fmt: skip
    deployments = named(resources, "Deployment")
    assert len(scaled) == len(set(scaled))
    for name in scaled:
        assert "replicas" not in deployments[name]["spec"]


def test_every_port_and_probe_is_one_of_the_service(resources):
    defaults = {name: Settings.model_fields[field].default for name, field in PORTS.items()}
    found = set()
    for name, container, _ in containers(resources):
        service = name.rpartition("/")[2]
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
        probes = [
            container[k]
            for k in ("startupProbe", "readinessProbe", "livenessProbe")
            if k in container
        ]
        for probe in probes:
            target = probe.get("httpGet") or probe.get("tcpSocket")
            if target:
                assert target["port"] in ports, name
        if service in PORTS:
            found.add(service)
            assert ports == {"http": defaults[service]}
            assert {probe["httpGet"]["path"] for probe in probes} == {
                "/health/live",
                "/health/ready",
            }
    assert found == set(PORTS)


def test_services_and_policies_point_at_pods_and_ports_that_exist(resources):
    labels = [template["metadata"]["labels"] for _, template in pods(resources)]
    labels += [{"app.kubernetes.io/name": name} for name in named(resources, "RabbitmqCluster")]
    open_ports = {5672, 4369, 25672, 15692} if named(resources, "RabbitmqCluster") else set()
    for _, container, _ in containers(resources):
        open_ports |= {port["containerPort"] for port in container.get("ports", [])}

    def exists(selector):
        assert any(selector.items() <= pod.items() for pod in labels), selector

    for service in named(resources, "Service").values():
        exists(service["spec"]["selector"])
    for budget in named(resources, "PodDisruptionBudget").values():
        exists(budget["spec"]["selector"]["matchLabels"])
    for name, policy in named(resources, "NetworkPolicy").items():
        exists(policy["spec"]["podSelector"].get("matchLabels", {}))
        for rule in policy["spec"].get("ingress", []):
            for port in rule["ports"]:
                assert port["port"] in open_ports or "endPort" in port, (name, port)


def images(resources):
    yield from (container["image"] for _, container, _ in containers(resources))
    yield from (r["spec"]["image"] for r in named(resources, "RabbitmqCluster").values())


def test_every_image_is_pinned(resources):
    for image in images(resources):
        assert re.search(r"(:v?\d+\.\d+\.\d+[\w.-]*|@sha256:[0-9a-f]{64})$", image), image


def test_the_image_of_the_manifests_is_the_version_of_the_package(overlays):
    ours = {image for image in images(overlays["local"]) if image.startswith("aimq:")}
    assert ours == {f"aimq:{__version__}"}


def test_prometheus_annotations_name_the_port_and_path_of_the_metrics(resources):
    for name, template in pods(resources):
        [container] = template["spec"]["containers"]
        if container["name"] in PORTS:
            annotations = template["metadata"]["annotations"]
            assert annotations["prometheus.io/path"] in PROBES, name
            assert annotations["prometheus.io/port"] == str(container["ports"][0]["containerPort"])


def test_rabbitmq_has_the_same_limits_in_compose_and_in_the_cluster():
    assert (ROOT / "deploy/rabbitmq/limits.conf").read_text() == (
        ROOT / "k8s/base/rabbitmq-limits.conf"
    ).read_text()


def test_production_examples_are_refused_as_secrets():
    example = (ROOT / "k8s" / PRODUCTION / "secrets.env.example").read_text()
    values = [line.partition("=")[2] for line in example.splitlines() if line.startswith(PREFIX)]
    assert len(values) == 5
    assert all(EXAMPLE_SECRET in value for value in values)


def test_generated_secrets_are_random_private_and_never_overwritten(tmp_path):
    one, other = copy(tmp_path / "one"), copy(tmp_path / "other")
    for k8s in (one, other):
        add_secrets(k8s)
    first = (one / "secrets.env").read_text()
    assert EXAMPLE_SECRET not in first
    assert set(first.splitlines()) & set((other / "secrets.env").read_text().splitlines()) == {
        "RABBITMQ_DEFAULT_USER=aimq"
    }
    assert (one / "secrets.env").stat().st_mode & 0o077 == 0
    add_secrets(one)
    assert (one / "secrets.env").read_text() == first


def test_secrets_are_ignored_by_git():
    ignored = (ROOT / ".gitignore").read_text().split()
    assert {".env", "k8s/secrets.env", "k8s/overlays/production/*.env"} <= set(ignored)
    assert "/backup/" in ignored  # volumes as docs/deploy.md saves them
