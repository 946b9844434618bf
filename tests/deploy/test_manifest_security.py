"""Who may talk to whom, what pods may do, and the time they are given to end."""

import re

from aimq.settings import Settings
from tests.deploy.manifests import containers, named, pods

#: Our services, which drain.
SERVICES = ("interface", "ml-service", "batch-processor")


def allowed(resources, source, target, port):
    """Tell whether the policies let `source` open a connection to `target`'s port."""
    policies = named(resources, "NetworkPolicy").values()

    def rules(name, direction, peer):
        for policy in policies:
            selector = policy["spec"]["podSelector"]
            values = [v for e in selector.get("matchExpressions", []) for v in e["values"]]
            chosen = selector.get("matchLabels", {}).get("app.kubernetes.io/name")
            if name not in (*values, chosen):
                continue
            for rule in policy["spec"].get(direction, []):
                peers = rule.get({"ingress": "from", "egress": "to"}[direction])
                names = None if peers is None else {
                    p["podSelector"]["matchLabels"]["app.kubernetes.io/name"]
                    if "podSelector" in p else None  # a block of addresses
                    for p in peers if "namespaceSelector" not in p
                }  # fmt: skip
                if (names is None or peer in names) and port in {p["port"] for p in rule["ports"]}:
                    yield policy

    inside = target != "anywhere"
    leaves = any(rules(source, "egress", target if inside else None))
    return leaves and (not inside or any(rules(target, "ingress", source)))


def test_who_must_talk_may_talk_and_nobody_else(overlays):
    local, production = overlays["local"], overlays["production"]
    wanted = {
        ("interface", "rabbitmq", 5672), ("interface", "ml-service", 5001),
        ("batch-processor", "rabbitmq", 5672), ("batch-processor", "ml-service", 5001),
        ("ml-service", "redisai", 6379),
    }  # fmt: skip
    stores = {(name, "redis", 6379) for name in ("interface", "batch-processor", "ml-service")}
    names = ("interface", "batch-processor", "ml-service", "rabbitmq", "redis", "redisai", "etl")
    ports = (5672, 6379, 5001, 8080, 9102, 15672)
    for resources, expected in ((local, wanted | stores), (production, wanted)):
        found = {
            (a, b, port) for a in names for b in names for port in ports
            if a != b and allowed(resources, a, b, port)
        }  # fmt: skip
        # The door is open to whoever reaches it; nobody of ours does.
        assert found == expected
    for name in ("interface", "batch-processor"):
        assert allowed(production, name, "anywhere", 6379)
        assert allowed(production, name, "anywhere", 443)
        assert not allowed(local, name, "anywhere", 6379)
    # Webhooks leave the cluster from one service.
    assert allowed(local, "batch-processor", "anywhere", 443)
    assert not allowed(local, "interface", "anywhere", 443)
    assert not allowed(local, "ml-service", "anywhere", 443)
    assert allowed(production, "rabbitmq", "rabbitmq", 25672)
    assert not allowed(production, "etl", "anywhere", 443)


def test_every_pod_keeps_the_restricted_security_standard(resources):
    for name, template in pods(resources):
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", name
        assert spec["automountServiceAccountToken"] is False, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), name
        kinds = {next(k for k in volume if k != "name") for volume in spec.get("volumes", [])}
        assert kinds <= {"configMap", "emptyDir", "persistentVolumeClaim", "secret"}, name
    for name, container, _ in containers(resources):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False, name
        assert context["capabilities"]["drop"] == ["ALL"], name
        if container["image"].rpartition("/")[2].startswith("aimq"):
            assert context["readOnlyRootFilesystem"] is True, name
    [namespace] = named(resources, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_every_container_says_what_it_needs_and_mounts_what_exists(resources):
    claims = named(resources, "PersistentVolumeClaim")
    templates = {
        name: {t["metadata"]["name"] for t in r["spec"].get("volumeClaimTemplates", [])}
        for name, r in named(resources, "StatefulSet").items()
    }
    for name, container, spec in containers(resources):
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name
        assert "memory" in container["resources"]["limits"], name
        volumes = {volume["name"] for volume in spec.get("volumes", [])}
        volumes |= (
            templates.get(name.split("/")[1], set()) if name.startswith("Stateful") else set()
        )
        assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes, name
        for volume in spec.get("volumes", []):
            claim = volume.get("persistentVolumeClaim")
            assert claim is None or claim["claimName"] in claims, name


def test_pods_are_given_the_time_that_draining_takes(resources):
    shutdown = Settings.model_fields["shutdown_seconds"].default
    for name, template in pods(resources):
        [container] = template["spec"]["containers"]
        if container["name"] not in SERVICES:
            continue
        before = (
            container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [""])
        )
        slept = sum(map(float, re.findall(r"sleep\((\d+)\)", before[-1])))
        assert slept > 0 or container["name"] == "batch-processor", name
        assert template["spec"]["terminationGracePeriodSeconds"] >= slept + shutdown + 5, name
