"""The examples of the documentation do what they show: each page's Python is run as a reader runs it, on real servers
with a real worker and the sandbox of the services."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agentstate import Settings
from agentstate.jobs import JobStatus
from agentstate.runtime import Runtime
from tests.worlds.servers import running_worker
from tests.worlds.services import KEY, SandboxProcess
from tests.worlds.waiting import until

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BROKER_URL = "redis://..."
"""Stands in an example for the reader's own."""
SUBMITTED = {"refresh-1", "refresh-2"}
"""Keys of the submissions in the examples."""
PAGES = (
    "README.md",
    "docs/how-to/remember-and-recall.md",
    "docs/how-to/put-a-context-together.md",
    "docs/how-to/run-an-operation-once.md",
    "docs/how-to/limit-what-an-agent-may-do.md",
    "docs/how-to/submit-by-the-broker.md",
    "docs/how-to/keep-a-profile.md",
    "docs/how-to/use-from-asyncio.md",
    "docs/how-to/use-from-langgraph.md",
    "docs/how-to/use-the-services.md",
    "docs/concepts/ledger.md",
    "docs/concepts/reconciliation.md",
    "docs/concepts/state.md",
)


def program(page: str) -> str:
    """All Python of a page, one block after the other."""
    return "\n".join(BLOCK.findall((ROOT / page).read_text("utf-8")))


@pytest.fixture
def environment(settings_env: dict[str, str], sandbox: SandboxProcess) -> dict[str, str]:
    services = {"AGENTSTATE_SERVICES_URL": sandbox.api, "AGENTSTATE_SERVICES_API_KEY": KEY.get_secret_value()}
    return {**os.environ, **settings_env, **services, "PYTHONPATH": f"{ROOT / 'shared'}:{ROOT}"}


@pytest.fixture
def worker(environment: dict[str, str]) -> Iterator[None]:
    with running_worker(environment, "embedding,cache,effects,housekeeping", "--concurrency", "2"):
        yield


@pytest.mark.usefixtures("worker")
def test_examples_run(environment: dict[str, str], settings: Settings, subtests: pytest.Subtests) -> None:
    codes = [(page, program(page).replace(BROKER_URL, settings.broker_url)) for page in PAGES]
    run = subprocess.run(
        [sys.executable, ROOT / "tests/stubs/pages.py"],
        cwd=ROOT,
        env=environment,
        input=json.dumps(codes),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    pages = json.loads(run.stdout)
    for page in PAGES:
        with subtests.test(page):
            assert pages[page]["error"] is None, pages[page]["error"]
    said = pages["README.md"]["printed"].splitlines()
    assert said[0] == "Flat stakes beat doubling up in volatile weeks."
    assert re.fullmatch(r"\d+\.\d\d USDC", said[-2])
    assert said[-2] != "100.00 USDC"
    assert said[-1] == "matched"
    with closing(Runtime(settings)) as runtime:

        def done() -> set[str | None]:
            jobs = runtime.jobs.list(kind="cache.refresh", agent_id="ag_7", status=JobStatus.DONE)
            return {job.dedupe_key for job in jobs}

        until(lambda: len(done()) >= len(SUBMITTED))  # a message without an answer leaves nothing to wait on
        assert done() == SUBMITTED


def test_every_page_with_python_is_run() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    with_python = {page.relative_to(ROOT).as_posix() for page in pages if BLOCK.search(page.read_text("utf-8"))}
    elsewhere = {"docs/how-to/run-in-containers.md", "docs/how-to/add-a-service.md"}
    assert with_python - elsewhere == set(PAGES), "add the page, so that it is run"
