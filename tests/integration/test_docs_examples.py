"""The examples of the documentation do what they show: each page's Python is run as a reader runs it, on real servers
with a real worker and the sandbox of the services."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentstate import Settings
from agentstate.jobs import JobStatus
from agentstate.runtime import Runtime
from tests.integration.conftest import KEY, SandboxProcess

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
def worker(environment: dict[str, str], tmp_path: Path) -> Iterator[None]:
    options = ["--queues", "embedding,cache,effects,housekeeping", "--concurrency", "2", "--name", "examples"]
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "workers", "worker", *options], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
        yield
        process.terminate()
        process.wait(timeout=30)


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
    runtime = Runtime(settings)
    assert _done_soon(runtime) == SUBMITTED
    runtime.close()


def _done_soon(runtime: Runtime) -> set[str | None]:
    """The keys of the submissions that are done, once both are or 30 seconds have passed."""
    until = time.monotonic() + 30
    while True:
        done = runtime.jobs.list(kind="cache.refresh", agent_id="ag_7", status=JobStatus.DONE)
        if len(done) >= len(SUBMITTED) or time.monotonic() > until:
            return {job.dedupe_key for job in done}
        time.sleep(0.1)  # a message without an answer leaves nothing to wait on


def test_every_page_with_python_is_run() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    with_python = {page.relative_to(ROOT).as_posix() for page in pages if BLOCK.search(page.read_text("utf-8"))}
    elsewhere = {"docs/how-to/run-in-containers.md", "docs/how-to/add-a-service.md"}
    assert with_python - elsewhere == set(PAGES), "add the page, so that it is run"
