"""Flower, asked as a person would: with and without the password, and for something that it must refuse."""

from __future__ import annotations

import httpx

from agentstate.settings import Settings
from deploy.local.demo.facts import FlowerFact

_TIMEOUT_S = 20.0


def ask_flower(settings: Settings, url: str) -> tuple[FlowerFact, dict[str, str]]:
    """What Flower shows, and the pages as they came, by name."""
    user, _, password = (settings.flower_basic_auth.get_secret_value() if settings.flower_basic_auth else "").partition(
        ":"
    )
    with httpx.Client(base_url=url, timeout=_TIMEOUT_S, trust_env=False) as stranger:
        without = stranger.get("/api/tasks").status_code
    with httpx.Client(base_url=url, timeout=_TIMEOUT_S, trust_env=False, auth=(user, password)) as client:
        workers = client.get("/workers", params={"json": "1"})
        tasks = client.get("/api/tasks")
        control = client.post("/api/worker/shutdown/io").status_code
    rows = workers.raise_for_status().json()["data"]
    fact = FlowerFact(
        url=url,
        status_without_password=without,
        status_of_control=control,
        workers=tuple(sorted(row["hostname"].partition("@")[0] for row in rows if row.get("status"))),
        tasks=len(tasks.raise_for_status().json()),
    )
    return fact, {"Flower's workers": workers.text, "Flower's tasks": tasks.text}
