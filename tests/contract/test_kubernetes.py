"""`deploy/kubernetes`: valid by the schemas of Kubernetes and KEDA, and held to what the deployment guide says of it. Validated,
not run: no cluster is to be had in a test."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import kubernetes_validate  # type: ignore[import-untyped]  # nor does this
import pytest

from pipeline.broker.topology import STAGES, queue_of
from pipeline.cli.house import STORE_THREADS
from pipeline.cli.site import THREADS
from pipeline.settings import IN_FILES, Settings
from pipeline.store.rights import ROLES, role_of
from tests.contract.kustomize import Object, build, containers, identity

ROOT = Path(__file__).resolve().parents[2]
PRODUCTION = ROOT / "deploy" / "kubernetes" / "overlays" / "production"
KEDA = Path(__file__).with_name("keda")
OLDEST, NEWEST = "1.29", kubernetes_validate.latest_version()
PROCESSES = (*STAGES, "relay", "serve")

OBJECTS = build(PRODUCTION)
NAMED = {(it["kind"], it["metadata"]["name"]): it for it in OBJECTS}
PODS = [it for it in OBJECTS if it["kind"] in ("Deployment", "Job")]


def label(it: Object) -> str:
    return f"{it['kind']}/{it['metadata']['name']}"


def test_no_object_is_there_twice() -> None:
    assert len({identity(it) for it in OBJECTS}) == len(OBJECTS)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_of_kubernetes_is_valid_by_its_schema(version: str) -> None:
    ours = [it for it in OBJECTS if not it["apiVersion"].startswith("keda.sh/")]
    for it in ours:
        kubernetes_validate.validate(it, version, strict=True)
    broken = json.loads(json.dumps(NAMED["Deployment", "payment"]))
    broken["spec"]["template"]["spec"]["containers"][0]["readOnlyRootFileSystem"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, version, strict=True)


def test_every_object_of_keda_is_valid_by_its_schema() -> None:
    schemas = {
        name: json.loads((KEDA / f"{name.lower()}.json").read_text())
        for name in ("ScaledObject", "TriggerAuthentication")
    }
    theirs = [it for it in OBJECTS if it["apiVersion"].startswith("keda.sh/")]
    assert len(theirs) == len(STAGES) + 2
    for it in theirs:
        jsonschema.validate(it, schemas[it["kind"]])


@pytest.mark.parametrize("pods", PODS, ids=label)
def test_a_pod_is_restricted(pods: Object) -> None:
    """The Pod Security Standard `restricted`, and a read-only root."""
    spec = pods["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(pods):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert re.fullmatch(r"registry\.example/daifu:[0-9.]+", container["image"]), "a tag that stays what it is"


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_has_its_deployment_its_own_secret_probes_and_a_budget(process: str) -> None:
    deployment = NAMED["Deployment", process]
    spec = deployment["spec"]["template"]["spec"]
    (container,) = containers(deployment)
    assert container["args"] == ([process] if process in ("relay", "serve") else ["worker", process])
    (volume,) = spec["volumes"]
    assert volume["secret"]["secretName"] == f"daifu-{process}"
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert spec["terminationGracePeriodSeconds"] > float(NAMED["ConfigMap", "daifu"]["data"]["DAIFU_DRAIN_S"])
    budget = NAMED["PodDisruptionBudget", process]["spec"]
    assert budget["selector"] == deployment["spec"]["selector"]
    assert budget["maxUnavailable"] == 1
    assert (
        deployment["spec"]["selector"]["matchLabels"].items()
        <= deployment["spec"]["template"]["metadata"]["labels"].items()
    )


def test_operators_have_a_place_to_type_that_reaches_the_database_alone() -> None:
    template = NAMED["Deployment", "operator"]["spec"]["template"]
    assert template["spec"]["volumes"][0]["secret"]["secretName"] == "daifu-operator"
    assert {it for it in template["metadata"]["labels"] if it.startswith("daifu/")} == {"daifu/database"}
    assert "envFrom" not in containers(NAMED["Deployment", "operator"])[0], "it has no broker"


def test_every_setting_exists_and_none_of_them_is_a_secret() -> None:
    names = set(NAMED["ConfigMap", "daifu"]["data"])
    for pods in PODS:
        names |= {item["name"] for container in containers(pods) for item in container.get("env", ())}
    known = {f"DAIFU_{name.upper()}" for name in Settings.model_fields} | {f"DAIFU_{name}_FILE" for name in IN_FILES}
    assert names <= known
    assert not names & {f"DAIFU_{name}" for name in IN_FILES}
    assert not [it for it in OBJECTS if it["kind"] == "Secret"]


def test_only_the_payment_worker_has_the_key_ring_of_passwords() -> None:
    holders = [
        pods["metadata"]["name"]
        for pods in PODS
        for container in containers(pods)
        if any(item["name"] == "DAIFU_VAULT_FILE" for item in container.get("env", ()))
    ]
    assert holders == ["payment"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_scales_on_messages_ready_and_work_in_flight_and_never_to_zero(stage: str) -> None:
    scaled = NAMED["ScaledObject", stage]["spec"]
    assert scaled["scaleTargetRef"] == {"name": stage}
    assert "replicas" not in NAMED["Deployment", stage]["spec"], "it would undo the scaling at each apply"
    assert scaled["minReplicaCount"] >= (2 if stage == "payment" else 1)
    triggers = {trigger["name"]: trigger for trigger in scaled["triggers"]}
    waiting = triggers.pop("waiting")["metadata"]
    # Over amqp only ready messages would be counted (keda#638).
    assert (waiting["protocol"], waiting["mode"], waiting["excludeUnacknowledged"]) == ("http", "QueueLength", "false")
    assert waiting["queueName"] == queue_of(stage)
    if stage == "intake":
        assert not triggers, "a message is a request, and unacked until it is accepted"
        return
    # A message names many rows: only rows say how much there is to do.
    counted = triggers.pop("rows")["metadata"]
    assert f"stage = '{stage}' AND (lease_owner IS NOT NULL OR due_at <=" in counted["query"]
    assert counted["targetQueryValue"] == waiting["value"]
    assert not triggers
    assert "scalingModifiers" not in scaled["advanced"], "without a formula the greater demand holds"
    # What KEDA may read, by the columns its query names.
    assert set(ROLES[role_of("scaler")]) == {"work"}


def test_the_guide_says_how_many_connections_all_pods_together_may_hold() -> None:
    worker, relay = STORE_THREADS + 1, STORE_THREADS  # a worker's heartbeat has its own
    serve = STORE_THREADS + THREADS + 1  # the doors', the console's, and its replays'
    workers = sum(NAMED["ScaledObject", stage]["spec"]["maxReplicaCount"] for stage in STAGES)
    others = {name: NAMED["Deployment", name]["spec"]["replicas"] for name in ("relay", "serve")}
    beside = others["relay"] * relay + others["serve"] * serve
    said = (ROOT / "deploy" / "docs" / "deployment.md").read_text("utf-8").replace("\n", " ")
    assert f"A worker holds at most {worker}, a relay {relay}, a `serve` {serve}" in said
    assert f"({workers} workers), two relays and two `serve`, **{workers * worker + beside}**" in said
    assert f"is enough for {(100 - 3 - beside) // worker} workers beside them" in said


def test_nothing_talks_but_what_must() -> None:
    policies = {it["metadata"]["name"]: it["spec"] for it in OBJECTS if it["kind"] == "NetworkPolicy"}
    daifu = {"matchLabels": {"app.kubernetes.io/part-of": "daifu"}}
    assert policies["nothing"] == {"podSelector": daifu, "policyTypes": ["Ingress", "Egress"]}
    outside = [it["metadata"]["name"] for it in PODS if "daifu/outside" in it["spec"]["template"]["metadata"]["labels"]]
    assert sorted(outside) == ["notification", "payment"]
    (rule,) = policies["outside"]["egress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 443}]
    assert {"10.0.0.0/8", "169.254.0.0/16", "127.0.0.0/8"} <= set(rule["to"][0]["ipBlock"]["except"])
    for name, with_and_without_tls in (("broker", {5671, 5672}), ("broker-management", {15671, 15672})):
        (rule,) = policies[name]["egress"]
        assert {it["port"] for it in rule["ports"]} == with_and_without_tls
    for pods in PODS:
        assert pods["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/part-of"] == "daifu"
