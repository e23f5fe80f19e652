"""docker-compose.yml says nothing that the code does not have, and confines all. Each rule finds a planted fault."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable

import pytest

from agentstate.jobs.broker import VISIBILITY_TIMEOUT_S
from tests.unit.deploy_files import (
    COMPOSE,
    GRACE_MARGIN_S,
    ROOT,
    Document,
    compose,
    floating,
    health_words,
    longest_deadline,
    migration_problems,
    parsed,
    queue_problems,
    refusal,
    seconds,
    unknown_names,
)

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
OURS = {"migrate", "beat", "flower"}
STORES = {"redis", "postgres", "qdrant"}


def is_ours(name: str) -> bool:
    return name in OURS or name.startswith("worker-")


def command_problems(document: Document) -> list[str]:
    commands = {
        name: service["command"]
        for name, service in document["services"].items()
        if is_ours(name) and name != "migrate"
    }
    refused = [refusal(command) for command in commands.values()]
    if any(refused):
        return [f"refused {reason}" for reason in refused if reason]
    options = {name: parsed(command)[1] for name, command in commands.items() if name.startswith("worker-")}
    return queue_problems({name: (found["queues"].split(","), found["pool"]) for name, found in options.items()})


def name_problems(document: Document) -> list[str]:
    found = unknown_names(str(document)) | unknown_names((ROOT / ".env.example").read_text("utf-8"))
    return [f"no setting {name}" for name in sorted(found)]


def grace_problems(document: Document) -> list[str]:
    problems = []
    for name, service in document["services"].items():
        grace = seconds(service["stop_grace_period"])
        if name.startswith("worker-"):
            deadline = longest_deadline(name.removeprefix("worker-"))
            if grace < deadline + GRACE_MARGIN_S:
                problems.append(f"{name} is killed after {grace} s, its jobs take {deadline} s")
            if grace >= VISIBILITY_TIMEOUT_S:
                problems.append(f"{name} may stop for longer than messages wait")
    return problems


def health_problems(document: Document) -> list[str]:
    problems = []
    for name, service in document["services"].items():
        if name == "migrate":
            continue
        check = service.get("healthcheck", {})
        test = check.get("test", [])
        if check.get("disable") or test[:1] != ["CMD"]:
            problems.append(f"{name} has no health check in exec form")
        elif is_ours(name):
            words = health_words(test)
            reason = "it does not ask us" if words is None else refusal(words)
            problems += [f"{name}: {reason}"] if reason else []
        if "inspect" in test or {"curl", "wget"} & set(re.split(r"\W+", " ".join(test))):
            problems.append(f"{name}: its check cannot work in its image")
    return problems


def confinement_problems(document: Document) -> list[str]:
    problems = []
    for name, service in document["services"].items():
        wanted = {
            "read_only": service.get("read_only") is True,
            "cap_drop": service.get("cap_drop") == ["ALL"],
            "no-new-privileges": "no-new-privileges:true" in service.get("security_opt", []),
            "numeric user": bool(re.fullmatch(r"[1-9]\d*:[1-9]\d*", service.get("user", ""))),
            "logging limit": "max-size" in service.get("logging", {}).get("options", {}),
            "memory limit": "memory" in service.get("deploy", {}).get("resources", {}).get("limits", {}),
            "pids limit": "pids" in service.get("deploy", {}).get("resources", {}).get("limits", {}),
            "restart": service.get("restart") == ("no" if name == "migrate" else "unless-stopped"),
            "not privileged": not service.get("privileged"),
            "init": service.get("init", False) == is_ours(name),
        }
        problems += [f"{name}: {what}" for what, there in wanted.items() if not there]
    return problems


def port_problems(document: Document) -> list[str]:
    problems = []
    for name, service in document["services"].items():
        ports = service.get("ports", [])
        problems += [f"{name}: {port} is open to others" for port in ports if not str(port).startswith("127.0.0.1:")]
        if name.startswith("worker-") and (ports or "container_name" in service):
            problems.append(f"{name} cannot be scaled")
    return problems


def order_problems(document: Document) -> list[str]:
    problems = []
    for name, service in document["services"].items():
        needs = {what: how["condition"] for what, how in service.get("depends_on", {}).items()}
        if is_ours(name) and name != "migrate":
            if needs.get("migrate") != "service_completed_successfully":
                problems.append(f"{name} does not wait for the schema")
            if needs.get("redis") != "service_healthy":
                problems.append(f"{name} does not wait for redis")
    if document["services"]["migrate"]["depends_on"]["postgres"]["condition"] != "service_healthy":
        problems.append("migrate does not wait for postgres")
    return problems


def secret_problems(document: Document) -> list[str]:
    problems = [f"secret {name} is no file" for name, secret in document["secrets"].items() if set(secret) != {"file"}]
    for name, service in document["services"].items():
        for given in service.get("secrets", []):
            source = given if isinstance(given, str) else given["source"]
            if source not in document["secrets"]:
                problems.append(f"{name} is given {source}, which is nowhere")
        for key, value in (service.get("environment") or {}).items():
            if re.search(r"PASSWORD|API_KEY|SECRET|TOKEN|BASIC_AUTH", key) and not re.search(r"_(FILE|DIR)$", key):
                problems.append(f"{name}: {key}={value} stands in the open")
            if re.search(r"://[^/@]*:[^/@]+@", str(value)):
                problems.append(f"{name}: {key} has a password in its address")
    files = {name for name in document["secrets"] if name.startswith("agentstate_")}
    return problems + [f"no setting for secret {name}" for name in files if unknown_names(name.upper())]


def owner_problems(document: Document) -> list[str]:
    """The migration alone may connect as who owns the tables; the others as who can only add to the ledger."""
    problems, given = [], {}
    for name, service in document["services"].items():
        each = [{"source": one, "target": one} if isinstance(one, str) else one for one in service.get("secrets", [])]
        given[name] = {one["target"]: one["source"] for one in each}
        wanted = "owner_database_url" if name == "migrate" else "agentstate_database_url"
        if is_ours(name) and given[name].get("agentstate_database_url") != wanted:
            problems.append(f"{name} connects as another than by {wanted}")
        if name != "migrate" and "owner_database_url" in given[name].values():
            problems.append(f"{name} may know the owner's address")
    if given["migrate"].get("application_database_url") != "agentstate_database_url":
        problems.append("migrate is not told whom to make")
    words = document["services"]["migrate"]["command"]
    return problems + migration_problems(words, "/run/secrets/application_database_url")


def image_problems(document: Document) -> list[str]:
    images = {name: service["image"] for name, service in document["services"].items()}
    resolved = {name: re.sub(r"^\$\{IMAGE:-(.*)\}$", r"\1", image) for name, image in images.items()}
    problems = [f"{name}: {image} moves" for name, image in resolved.items() if floating(image)]
    problems += [
        f"{name}: {resolved[name]} is not this version"
        for name in resolved
        if is_ours(name) and not resolved[name].endswith(f"/agentstate:{VERSION}")
    ]
    for name, service in document["services"].items():
        if is_ours(name) and ("build" in service) != (name == "migrate"):
            problems.append(f"{name}: one service alone builds the image")
    return problems


RULES: dict[str, Callable[[Document], list[str]]] = {
    "commands": command_problems,
    "names": name_problems,
    "grace": grace_problems,
    "health": health_problems,
    "confinement": confinement_problems,
    "ports": port_problems,
    "order": order_problems,
    "secrets": secret_problems,
    "owner": owner_problems,
    "images": image_problems,
}


@pytest.mark.parametrize("rule", RULES)
def test_the_file_keeps(rule: str) -> None:
    assert RULES[rule](compose()) == []


def test_the_stores_are_set_as_the_guarantees_need() -> None:
    services = compose()["services"]
    assert set(services) - STORES - OURS == {f"worker-{queue}" for queue in known_queues()}
    assert "--encoding=UTF8" in services["postgres"]["environment"]["POSTGRES_INITDB_ARGS"]
    assert services["postgres"]["environment"]["POSTGRES_PASSWORD_FILE"] == "/run/secrets/postgres_password"
    assert services["qdrant"]["environment"]["QDRANT__TELEMETRY_DISABLED"] == "true"
    assert re.fullmatch(r"qdrant/qdrant:v1\.20\.\d+-unprivileged", services["qdrant"]["image"])
    config = dict(
        line.split(" ", 1)
        for line in (ROOT / "deploy/redis/redis.conf").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    )
    assert config["appendonly"] == "yes"
    assert config["maxmemory-policy"] == "volatile-ttl"
    assert config["aclfile"] == "/run/secrets/redis_users.acl"


def known_queues() -> set[str]:
    from agentstate.jobs.spec import QUEUES

    return set(QUEUES)


def set_in(*path: str, to: object) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        place = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to

    return change


def drop(*path: str) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        place = document
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]

    return change


EMBEDDING = ("services", "worker-embedding")
MIGRATE = ("services", "migrate")
EMBEDDING_CHECK = (*EMBEDDING, "healthcheck", "test")
BOTH = ["worker", "--queues", "embedding,effects"]
NO_OPTION = ["CMD", "python", "-m", "workers", "health", "--age", "3"]
A_MESSAGE = ["CMD", "celery", "inspect", "ping", "-d", "embedding@%h"]
WAITS_FOR_POSTGRES = ("services", "migrate", "depends_on", "postgres", "condition")
FAULTS = [
    ("commands", "refused", set_in(*EMBEDDING, "command", to=["worker", "--queue", "embedding"])),
    ("commands", "refused", set_in("services", "beat", "command", to=["beats"])),
    ("commands", "embedding is served by 0", drop("services", "worker-embedding")),
    (
        "commands",
        "there is no queue emails",
        set_in(*EMBEDDING, "command", to=["worker", "--queues", "embedding,emails"]),
    ),
    ("commands", "effects is served by 2", set_in(*EMBEDDING, "command", to=BOTH)),
    (
        "commands",
        "runs threads, not solo",
        set_in("services", "worker-effects", "command", to=["worker", "--queues", "effects", "--pool", "threads"]),
    ),
    ("names", "no setting AGENTSTATE_LANE", set_in(*EMBEDDING, "environment", "AGENTSTATE_LANE", to="4")),
    ("names", "no setting WORKERS_HEARTBEAT", set_in(*EMBEDDING, "environment", "WORKERS_HEARTBEAT", to="x")),
    ("grace", "is killed after", set_in("services", "worker-summarization", "stop_grace_period", to="2m")),
    ("grace", "longer than messages wait", set_in("services", "worker-cache", "stop_grace_period", to="10m")),
    ("health", "no health check", set_in("services", "flower", "healthcheck", to={"disable": True})),
    ("health", "no health check", drop("services", "redis", "healthcheck")),
    ("health", "No such option", set_in(*EMBEDDING_CHECK, to=NO_OPTION)),
    ("health", "does not ask us", set_in(*EMBEDDING_CHECK, to=A_MESSAGE)),
    ("health", "cannot work", set_in("services", "qdrant", "healthcheck", "test", to=["CMD", "curl", "localhost"])),
    ("confinement", "worker-embedding: read_only", set_in(*EMBEDDING, "read_only", to=False)),
    ("confinement", "numeric user", set_in(*EMBEDDING, "user", to="root")),
    ("confinement", "redis: cap_drop", drop("services", "redis", "cap_drop")),
    ("confinement", "postgres: memory limit", drop("services", "postgres", "deploy")),
    ("confinement", "migrate: restart", set_in("services", "migrate", "restart", to="unless-stopped")),
    ("ports", "open to others", set_in("services", "redis", "ports", to=["6379:6379"])),
    ("ports", "open to others", set_in("services", "flower", "ports", to=["0.0.0.0:5555:5555"])),
    ("ports", "cannot be scaled", set_in(*EMBEDDING, "container_name", to="embedding")),
    ("ports", "cannot be scaled", set_in(*EMBEDDING, "ports", to=["127.0.0.1:9000:9000"])),
    ("order", "does not wait for the schema", drop("services", "beat", "depends_on", "migrate")),
    ("order", "migrate does not wait", set_in(*WAITS_FOR_POSTGRES, to="service_started")),
    ("secrets", "stands in the open", set_in("services", "postgres", "environment", "POSTGRES_PASSWORD", to="x")),
    (
        "secrets",
        "password in its address",
        set_in(*EMBEDDING, "environment", "AGENTSTATE_BROKER_URL", to="redis://:word@redis:6379/0"),
    ),
    ("secrets", "is no file", set_in("secrets", "postgres_password", to={"environment": "POSTGRES_PASSWORD"})),
    ("secrets", "is nowhere", drop("secrets", "agentstate_broker_url")),
    ("secrets", "no setting for secret", set_in("secrets", "agentstate_brocker_url", to={"file": "x"})),
    ("owner", "agentstate migrate has no --app-url", set_in(*MIGRATE, "command", to=["migrate", "--app-url", "x"])),
    ("owner", "does not make the role", set_in(*MIGRATE, "command", to=["migrate"])),
    ("owner", "is not told whom", set_in(*MIGRATE, "secrets", to=["agentstate_database_url"])),
    ("owner", "migrate connects as another", set_in(*MIGRATE, "secrets", to=["agentstate_database_url"])),
    ("owner", "embedding may know the owner", set_in(*EMBEDDING, "secrets", to=["owner_database_url"])),
    ("images", "qdrant/qdrant:latest moves", set_in("services", "qdrant", "image", to="qdrant/qdrant:latest")),
    ("images", "redis moves", set_in("services", "redis", "image", to="redis")),
    ("images", "postgres:18 moves", set_in("services", "postgres", "image", to="postgres:18")),
    ("images", "is not this version", set_in(*EMBEDDING, "image", to="${IMAGE:-localhost/agentstate:0.0.9}")),
    ("images", "one service alone builds", set_in(*EMBEDDING, "build", to=".")),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "found", "plant"), FAULTS)
def test_a_planted_fault_is_found(rule: str, found: str, plant: Callable[[Document], None]) -> None:
    document = compose()
    plant(document)
    assert found in " | ".join(RULES[rule](document))


def test_no_variable_has_a_secret_for_a_default() -> None:
    text = COMPOSE.read_text("utf-8")
    assert set(re.findall(r"\$\{(\w+):-", text)) == {
        "IMAGE",
        "WITH_MODEL",
        "HOST_PORT_REDIS",
        "HOST_PORT_POSTGRES",
        "HOST_PORT_QDRANT",
        "HOST_PORT_FLOWER",
    }


def test_the_example_of_variables_holds_no_secret_and_no_setting_that_is_not_a_comment() -> None:
    lines = (ROOT / ".env.example").read_text("utf-8").splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []
    assert [line for line in lines if re.match(r"# \w*(KEY|PASSWORD|AUTH)\w*=.", line)] == []
