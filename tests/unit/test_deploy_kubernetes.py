"""deploy/k8s says nothing that the code does not have, and confines all. Each rule finds a planted fault."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable

import jsonschema
import pytest
import yaml

from agentstate.jobs.broker import VISIBILITY_TIMEOUT_S
from agentstate.jobs.spec import QUEUES
from agentstate.store.tables import metadata
from tests.unit.deploy_files import (
    GRACE_MARGIN_S,
    K8S,
    ROOT,
    Document,
    documents,
    health_words,
    longest_deadline,
    migration_problems,
    parsed,
    queue_problems,
    refusal,
    unknown_names,
)

Documents = list[Document]
OWN, APPLICATION = "/etc/agentstate/secrets", "/etc/agentstate/application"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]


def worker_of(queue: str) -> Document:
    """The Deployment of a queue: what all workers have, with the queue's patch."""
    folder = documents(K8S / f"base/queues/{queue}/kustomization.yaml")[0]
    (deployment,) = documents(K8S / "base/worker/deployment.yaml")
    deployment["metadata"]["name"] += folder["nameSuffix"]
    deployment["metadata"]["labels"] = folder["labels"][0]["pairs"]
    patch = yaml.safe_load(folder["patches"][0]["patch"])
    (container,) = pod(deployment)["containers"]
    container |= pod(patch)["containers"][0]
    return deployment


def base() -> Documents:
    listed = documents(K8S / "base/kustomization.yaml")[0]["resources"]
    files = [document for name in listed if name.endswith(".yaml") for document in documents(K8S / "base" / name)]
    return files + [worker_of(name.removeprefix("queues/")) for name in listed if name.startswith("queues/")]


def scaling() -> Documents:
    return documents(K8S / "components/keda/scaled-objects.yaml")


def pod(document: Document) -> Document:
    spec: Document = document["spec"]["template"]["spec"]
    return spec


def pods(found: Documents) -> dict[str, Document]:
    return {item["metadata"]["name"]: item for item in found if item["kind"] in {"Deployment", "Job"}}


def workers(found: Documents) -> dict[str, Document]:
    return {name: item for name, item in pods(found).items() if name.startswith("agentstate-worker-")}


def container(document: Document) -> Document:
    (only,) = pod(document)["containers"]
    assert isinstance(only, dict)
    return only


def command_problems(found: Documents) -> list[str]:
    ours = {name: item for name, item in pods(found).items() if "command" not in container(item)}
    refused = [refusal(container(item)["args"]) for item in ours.values()]
    if any(refused):
        return [f"refused {reason}" for reason in refused if reason]
    options = {name: parsed(container(item)["args"])[1] for name, item in workers(found).items()}
    return queue_problems({name: (given["queues"].split(","), given["pool"]) for name, given in options.items()})


def name_problems(found: Documents) -> list[str]:
    return [f"no setting {name}" for name in sorted(unknown_names(str(found)))]


def grace_problems(found: Documents) -> list[str]:
    problems = []
    for name, item in workers(found).items():
        grace = pod(item)["terminationGracePeriodSeconds"]
        deadline = longest_deadline(name.removeprefix("agentstate-worker-"))
        if not deadline + GRACE_MARGIN_S <= grace < VISIBILITY_TIMEOUT_S:
            problems.append(f"{name} is killed after {grace} s, its jobs take {deadline} s")
    return problems


def probe_problems(found: Documents) -> list[str]:
    problems = []
    for name, item in pods(found).items():
        if item["kind"] == "Job":
            continue
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            probe = container(item).get(kind, {})
            if "httpGet" in probe:
                ports = {port["name"] for port in container(item).get("ports", [])}
                reason = None if probe["httpGet"]["port"] in ports else "no such port"
            else:
                words = health_words(probe.get("exec", {}).get("command", []))
                reason = "it does not ask us" if words is None else refusal(words)
            problems += [f"{name}, {kind}: {reason}"] if reason else []
    return problems


def confinement_problems(found: Documents) -> list[str]:
    problems = []
    for name, item in pods(found).items():
        inner = container(item).get("securityContext", {})
        outer = pod(item).get("securityContext", {})
        mounts = {mount["mountPath"] for mount in container(item).get("volumeMounts", [])}
        wanted = {
            "not root": outer.get("runAsNonRoot") is True and outer.get("runAsUser", 0) > 0,
            "seccomp": outer.get("seccompProfile") == {"type": "RuntimeDefault"},
            "no new privileges": inner.get("allowPrivilegeEscalation") is False,
            "read-only": inner.get("readOnlyRootFilesystem") is True,
            "no capabilities": inner.get("capabilities") == {"drop": ["ALL"]},
            "no token": pod(item).get("automountServiceAccountToken") is False,
            # A Service called agentstate-flower would set AGENTSTATE_FLOWER_PORT to an address.
            "no service links": pod(item).get("enableServiceLinks") is False,
            "requests": {"cpu", "memory"} <= set(container(item)["resources"].get("requests", {})),
            "memory limit": "memory" in container(item)["resources"].get("limits", {}),
            "places to write": {"/tmp", "/run/agentstate"} <= mounts,  # noqa: S108 a mount in the container
            "this version's image": container(item)["image"] == f"agentstate:{VERSION}",
        }
        problems += [f"{name}: {what}" for what, there in wanted.items() if not there]
    return problems


def single_problems(found: Documents) -> list[str]:
    problems = []
    for name in ("agentstate-beat", "agentstate-flower"):
        spec = pods(found)[name]["spec"]
        if spec.get("replicas") != 1 or spec.get("strategy") != {"type": "Recreate"}:
            problems.append(f"{name} is not single")
    return problems + [
        f"{name} fixes its replicas" for name, item in workers(found).items() if "replicas" in item["spec"]
    ]


def policy_problems(found: Documents) -> list[str]:
    policies = [item for item in found if item["kind"] == "NetworkPolicy"]
    everyone = [item for item in policies if item["spec"]["policyTypes"] == ["Ingress", "Egress"]]
    problems = [] if len(everyone) == 1 and everyone[0]["spec"]["ingress"] == [] else ["pods can be connected to"]
    sources = [source for item in policies for rule in item["spec"].get("ingress", []) for source in rule["from"]]
    # kustomize adds our own labels to `matchLabels`, and nobody but ourselves would be let in.
    closed = [source for source in sources if "matchLabels" in source["podSelector"]]
    return problems + ["the rule lets in only ourselves"] * len(closed)


def secret_problems(found: Documents) -> list[str]:
    problems = ["a Secret has its value here" for item in found if item["kind"] == "Secret"]
    settings = documents(K8S / "base/kustomization.yaml")[0]["configMapGenerator"][0]["literals"]
    folder = dict(line.split("=", 1) for line in settings)["AGENTSTATE_SECRETS_DIR"]
    for name, item in pods(found).items():
        volumes = {volume["name"]: volume for volume in pod(item).get("volumes", [])}
        mounted = {mount["mountPath"]: volumes[mount["name"]] for mount in container(item).get("volumeMounts", [])}
        if "secret" not in mounted.get(folder, {}):
            problems.append(f"{name}: no secrets at {folder}")
    return problems


def owner_problems(found: Documents) -> list[str]:
    """The migration alone may connect as who owns the tables; the others as who can only add to the ledger."""
    problems = []
    for name, item in pods(found).items():
        volumes = {
            volume["name"]: volume["secret"]["secretName"] for volume in pod(item)["volumes"] if "secret" in volume
        }
        mounted = {
            mount["mountPath"]: volumes[mount["name"]]
            for mount in container(item).get("volumeMounts", [])
            if mount["name"] in volumes
        }
        wanted = {OWN: "agentstate"}
        if name == "agentstate-migrate":
            wanted = {OWN: "agentstate-migrate", APPLICATION: "agentstate"}
        problems += [] if mounted == wanted else [f"{name} is given {mounted}"]
    words = container(pods(found)["agentstate-migrate"])["args"]
    return problems + migration_problems(words, f"{APPLICATION}/agentstate_database_url")


STRICT = {"additionalProperties": False, "type": "object"}
POSITIVE = {"type": "integer", "minimum": 1}
SCALED_OBJECT = {
    **STRICT,
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "keda.sh/v1alpha1"},
        "kind": {"const": "ScaledObject"},
        "metadata": {**STRICT, "properties": {"name": {"type": "string"}, "labels": {"type": "object"}}},
        "spec": {
            **STRICT,
            "required": ["scaleTargetRef", "minReplicaCount", "maxReplicaCount", "triggers"],
            "properties": {
                "scaleTargetRef": {
                    **STRICT,
                    "properties": {
                        "apiVersion": {"const": "apps/v1"},
                        "kind": {"const": "Deployment"},
                        "name": {"type": "string"},
                    },
                },
                "pollingInterval": POSITIVE,
                "minReplicaCount": POSITIVE,
                "maxReplicaCount": POSITIVE,
                "advanced": {
                    **STRICT,
                    "properties": {
                        "horizontalPodAutoscalerConfig": {
                            **STRICT,
                            "properties": {
                                "behavior": {**STRICT, "properties": {"scaleDown": {"type": "object"}}},
                            },
                        }
                    },
                },
                "triggers": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        **STRICT,
                        "required": ["type", "metadata", "authenticationRef"],
                        "properties": {
                            "type": {"const": "postgresql"},
                            "metricType": {"const": "AverageValue"},
                            "authenticationRef": {**STRICT, "properties": {"name": {"const": "agentstate-postgres"}}},
                            # All values of a trigger are strings.
                            "metadata": {
                                **STRICT,
                                "required": ["query", "targetQueryValue"],
                                "properties": {
                                    "query": {"type": "string"},
                                    "targetQueryValue": {"type": "string", "pattern": r"^\d+$"},
                                    "activationTargetQueryValue": {"type": "string", "pattern": r"^\d+$"},
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}
"""The part of KEDA's ScaledObject that we use, unknown fields refused; written by hand after KEDA's API types."""


def scaling_problems(found: Documents) -> list[str]:
    problems = [
        error.message for item in found for error in jsonschema.Draft202012Validator(SCALED_OBJECT).iter_errors(item)
    ]
    if problems:
        return problems
    targets = sorted(item["spec"]["scaleTargetRef"]["name"] for item in found)
    if targets != sorted(f"agentstate-worker-{queue}" for queue in QUEUES):
        problems.append(f"scaled are {targets}")
    for item in found:
        queue = item["metadata"]["labels"]["agentstate.io/queue"]
        (trigger,) = item["spec"]["triggers"]
        query = trigger["metadata"]["query"]
        if item["spec"]["scaleTargetRef"]["name"] != f"agentstate-worker-{queue}" or f"queue = '{queue}'" not in query:
            problems.append(f"{queue} is scaled by another's work")
        problems += [f"no table {name}" for name in re.findall(r"FROM (\w+)", query) if name not in metadata.tables]
        if "running" not in query:
            problems.append(f"{queue}: what runs is not counted")
    return problems


RULES: dict[str, Callable[[Documents], list[str]]] = {
    "commands": command_problems,
    "names": name_problems,
    "grace": grace_problems,
    "probes": probe_problems,
    "confinement": confinement_problems,
    "single": single_problems,
    "policy": policy_problems,
    "secrets": secret_problems,
    "owner": owner_problems,
}


@pytest.mark.parametrize("rule", RULES)
def test_the_base_keeps(rule: str) -> None:
    assert RULES[rule](base()) == []


def test_every_queue_is_scaled_by_its_own_work() -> None:
    assert scaling_problems(scaling()) == []


def test_every_key_of_the_triggers_authentication_is_one_of_the_scalers() -> None:
    (authentication,) = documents(K8S / "components/keda/trigger-authentication.yaml")
    given = {item["parameter"]: item for item in authentication["spec"]["secretTargetRef"]}
    assert set(given) == {"host", "port", "dbName", "userName", "password", "sslmode"}
    assert {item["name"] for item in given.values()} == {"agentstate-keda"}


def test_settings_in_config_maps_are_settings() -> None:
    for path in (K8S / "base/kustomization.yaml", K8S / "overlays/example/kustomization.yaml"):
        text = path.read_text("utf-8")
        assert unknown_names(text) == set()
        assert "secretGenerator" not in text


def test_an_unknown_setting_in_a_config_map_is_found() -> None:
    assert unknown_names("- AGENTSTATE_LANE=4\n- AGENTSTATE_LANES=4") == {"AGENTSTATE_LANE"}


Plant = Callable[[Documents], None]


def in_pod(name: str, change: Callable[[Document], None]) -> Plant:
    return lambda found: change(pod(pods(found)[name]))


def in_container(name: str, **values: object) -> Plant:
    return lambda found: container(pods(found)[name]).update(values)


def in_spec(name: str, **values: object) -> Plant:
    return lambda found: pods(found)[name]["spec"].update(values)


def open_to_labels(found: Documents) -> None:
    rule = next(item for item in found if item["metadata"]["name"] == "agentstate-flower" and "ingress" in item["spec"])
    rule["spec"]["ingress"][0]["from"] = [{"podSelector": {"matchLabels": {"may": "see"}}}]


OWNERS = {"name": "secrets", "secret": {"secretName": "agentstate-migrate"}}  # pragma: allowlist secret
EMBEDDING, CACHE = "agentstate-worker-embedding", "agentstate-worker-cache"
FAULTS: list[tuple[str, str, Plant]] = [
    ("commands", "refused", in_container(EMBEDDING, args=["work"])),
    ("commands", "cache is served by 0", in_container(CACHE, args=["worker", "--queues", "embedding"])),
    ("commands", "runs solo", in_container(CACHE, args=["worker", "--queues", "cache", "--pool", "solo"])),
    ("names", "AGENTSTATE_LOG", in_container(CACHE, env=[{"name": "AGENTSTATE_LOG", "value": "x"}])),
    ("grace", "is killed after 30", in_pod(EMBEDDING, lambda spec: spec.update(terminationGracePeriodSeconds=30))),
    ("grace", "is killed after 300", in_pod(CACHE, lambda spec: spec.update(terminationGracePeriodSeconds=300))),
    ("probes", "livenessProbe: it does not ask", in_container("agentstate-beat", livenessProbe={})),
    (
        "probes",
        "No such option",
        in_container(CACHE, readinessProbe={"exec": {"command": ["python", "-m", "workers", "health", "--age=3"]}}),
    ),
    ("probes", "no such port", in_container("agentstate-flower", ports=[])),
    ("confinement", "no service links", in_pod(CACHE, lambda spec: spec.pop("enableServiceLinks"))),
    ("confinement", "no token", in_pod("agentstate-migrate", lambda spec: spec.pop("automountServiceAccountToken"))),
    ("confinement", "not root", in_pod(CACHE, lambda spec: spec["securityContext"].update(runAsUser=0))),
    ("confinement", "read-only", in_container(CACHE, securityContext={})),
    ("confinement", "image", in_container(CACHE, image="agentstate:latest")),
    ("confinement", "requests", in_container(CACHE, resources={})),
    ("single", "agentstate-beat is not single", in_spec("agentstate-beat", replicas=2)),
    ("single", "agentstate-beat is not single", in_spec("agentstate-beat", strategy={"type": "RollingUpdate"})),
    ("single", "fixes its replicas", in_spec(CACHE, replicas=3)),
    ("policy", "only ourselves", open_to_labels),
    ("policy", "can be connected to", lambda found: found.pop(0 if found[0]["kind"] == "NetworkPolicy" else 1)),
    ("secrets", "has its value", lambda found: found.append({"kind": "Secret", "metadata": {"name": "x"}})),
    ("secrets", "no secrets at", in_container(CACHE, volumeMounts=[])),
    ("owner", "does not make the role", in_container("agentstate-migrate", args=["migrate"])),
    ("owner", "cache is given", in_pod(CACHE, lambda spec: spec.update(volumes=[OWNERS]))),
]


@pytest.mark.parametrize(("rule", "expected", "plant"), FAULTS)
def test_a_planted_fault_is_found(rule: str, expected: str, plant: Plant) -> None:
    found = base()
    plant(found)
    assert expected in " | ".join(RULES[rule](found))


def in_trigger(**values: object) -> Plant:
    return lambda found: found[0]["spec"]["triggers"][0]["metadata"].update(values)


SCALING_FAULTS: list[tuple[str, Plant]] = [
    ("'pollInterval' was unexpected", lambda found: found[0]["spec"].update(pollInterval=3)),
    ("2000 is not of type 'string'", in_trigger(targetQueryValue=2000)),
    ("'targetValue' was unexpected", in_trigger(targetValue="3")),
    ("scaled are", lambda found: found.pop()),
    ("another's work", in_trigger(query="SELECT count(*) FROM jobs WHERE queue = 'cache' AND status = 'running'")),
    ("no table job", in_trigger(query="SELECT count(*) FROM job WHERE queue = 'embedding' AND status = 'running'")),
    ("what runs is not counted", in_trigger(query="SELECT count(*) FROM jobs WHERE queue = 'embedding'")),
    ("less than the minimum", lambda found: found[0]["spec"].update(minReplicaCount=0)),
]


@pytest.mark.parametrize(("expected", "plant"), SCALING_FAULTS)
def test_a_planted_fault_in_scaling_is_found(expected: str, plant: Plant) -> None:
    found = scaling()
    plant(found)
    assert expected in " | ".join(scaling_problems(found))


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl to compare with")
def test_what_is_compared_here_is_what_kustomize_makes() -> None:
    made = subprocess.run(
        ["kubectl", "kustomize", K8S / "base"], capture_output=True, text=True, check=True, timeout=60
    )
    theirs = pods(list(yaml.safe_load_all(made.stdout)))
    ours = pods(base())
    assert set(theirs) == set(ours)
    for name, item in ours.items():
        shown, given = container(theirs[name]), container(item)
        assert shown["args"] == given["args"], name
        assert shown["resources"] == given["resources"], name
        assert pod(theirs[name])["terminationGracePeriodSeconds"] == pod(item)["terminationGracePeriodSeconds"]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl to compare with")
def test_each_disruption_budget_and_spread_is_of_one_queue() -> None:
    made = subprocess.run(
        ["kubectl", "kustomize", K8S / "base"], capture_output=True, text=True, check=True, timeout=60
    )
    budgets = [item for item in yaml.safe_load_all(made.stdout) if item["kind"] == "PodDisruptionBudget"]
    selected = [item["spec"]["selector"]["matchLabels"]["agentstate.io/queue"] for item in budgets]
    assert sorted(selected) == sorted(QUEUES)
    for name, item in workers(list(yaml.safe_load_all(made.stdout))).items():
        (spread,) = pod(item)["topologySpreadConstraints"]
        assert spread["labelSelector"]["matchLabels"]["agentstate.io/queue"] == name.removeprefix("agentstate-worker-")
