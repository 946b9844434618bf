"""The Helm chart renders what the manifests say; its switches leave out and add what they name."""

import copy
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from aimq import __version__
from tests.deploy.manifests import ROOT, named
from tests.deploy.test_manifests import CUSTOM, custom_schema, group

CHART = ROOT / "deploy" / "helm" / "aimq"
EXTERNAL = {
    "rabbitmq.enabled": "false", "redis.enabled": "false", "redisai.enabled": "false",
    "secrets.brokerUrl": "amqps://u:p@queue.example.org:5671/%2F",
    "secrets.storeUrl": "rediss://:p@store.example.org:6379/0",
    "files.url": "s3://bucket/aimq", "files.s3Secret": "s3",
}  # fmt: skip


def helm(*arguments):
    program = Path(sys.executable).with_name("helm")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


def template(**values):
    options = [word for item in values.items() for word in ("--set", "=".join(item))]
    done = helm("template", "aimq", str(CHART), "--namespace", "aimq", *options)
    assert done.returncode == 0, done.stderr
    return [resource for resource in yaml.safe_load_all(done.stdout) if resource]


def plain(resource):
    """Return a resource without what the two tools say differently."""
    text = yaml.safe_dump(copy.deepcopy(resource))
    text = re.sub(r"\b(aimq|rabbitmq)-[0-9a-z]{10}\b", r"\1", text)  # kustomize's hash of a content
    text = re.sub(r"\n *checksum/config: \w+", "", text)  # helm's
    text = re.sub(r"\n *app\.kubernetes\.io/part-of: aimq", "", text)
    text = text.replace("name: etl-1", "name: etl")
    known = yaml.safe_load(text)
    known["metadata"] = {"name": known["metadata"]["name"]}
    if known["kind"] == "Deployment" and known["spec"].get("replicas") == 1:
        del known["spec"]["replicas"]  # the API's default
    if known["kind"] == "Secret":
        return sorted(known.get("data") or known["stringData"])
    return without_empty(known)


def without_empty(node):
    if isinstance(node, dict):
        kept = {key: without_empty(child) for key, child in node.items()}
        return {k: v for k, v in kept.items() if v is not None and not (k == "labels" and not v)}
    return [without_empty(child) for child in node] if isinstance(node, list) else node


def by_name(resources):
    plains = {}
    for resource in resources:
        known = plain(resource)
        name = re.sub(r"-([0-9a-z]{10}|1)$", "", resource["metadata"]["name"])
        plains[resource["kind"], name] = known
    return plains


def test_the_chart_is_clean():
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_chart_renders_what_the_manifests_say(overlays):
    kustomized, helmed = by_name(overlays["local"]), by_name(template())
    del kustomized["Namespace", "aimq"]  # `helm install --create-namespace`
    assert helmed.keys() == kustomized.keys()
    for key, resource in kustomized.items():
        assert helmed[key] == resource, key


@pytest.mark.parametrize("version", ["1.34", "1.37"])
@pytest.mark.parametrize(
    "values",
    [
        {},
        EXTERNAL,
        {"ingress.enabled": "true", "ingress.host": "aimq.example.org", "ingress.tlsSecret": "tls"},
        {"keda.enabled": "true", "autoscaling.enabled": "false"},
    ],
    ids=["default", "external", "ingress", "keda"],
)
def test_every_resource_is_what_the_api_takes(values, version):
    for resource in template(**values):
        if group(resource) in CUSTOM:
            jsonschema.validate(resource, custom_schema(resource))
        else:
            kubernetes_validate.validate(resource, version, strict=True)


def test_queue_store_and_files_may_be_elsewhere():
    resources = template(**EXTERNAL)
    assert not named(resources, "StatefulSet")
    assert set(named(resources, "PersistentVolumeClaim")) == {"models"}
    [secret] = named(resources, "Secret").values()
    assert secret["stringData"]["AIMQ_BROKER_URL"] == EXTERNAL["secrets.brokerUrl"]
    [config] = named(resources, "ConfigMap").values()
    assert config["data"]["AIMQ_REDISAI_URL"] == ""
    assert config["data"]["AIMQ_FILES_URL"] == EXTERNAL["files.url"]
    assert "to-external" in named(resources, "NetworkPolicy")


def test_a_missing_address_is_told():
    done = helm("template", "aimq", str(CHART), "--set", "redis.enabled=false")
    assert done.returncode != 0
    assert "secrets.storeUrl: the address of your Redis" in done.stderr


def test_scalers_can_be_changed_and_left_out():
    fixed = template(**{"autoscaling.enabled": "false", "mlService.replicas.min": "3"})
    assert not named(fixed, "HorizontalPodAutoscaler")
    assert named(fixed, "Deployment")["ml-service"]["spec"]["replicas"] == 3
    scaled = template(**{"keda.enabled": "true", "batchProcessor.replicas.min": "2"})
    assert "replicas" not in named(scaled, "Deployment")["batch-processor"]["spec"]
    [scaler] = named(scaled, "ScaledObject").values()
    assert scaler["spec"]["minReplicaCount"] == 2


def test_the_chart_has_the_version_of_the_package():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__
