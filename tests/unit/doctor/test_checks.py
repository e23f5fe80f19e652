"""Checks that need no server: packages against their ranges, workers, and the versions of Qdrant."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentstate.distribution import package_requirements, package_version
from agentstate.doctor import System, Verdict, qdrant, redis_server, run_checks
from agentstate.doctor.configuration import compare_packages, data_folder
from agentstate.doctor.registry import CHECKS
from agentstate.errors import InvalidInput
from agentstate.jobs.spec import QUEUES
from agentstate.settings import Settings


def test_the_installed_packages_are_in_their_ranges() -> None:
    found = compare_packages(package_requirements())
    assert found.verdict is Verdict.OK, found


@pytest.mark.parametrize(
    ("requirement", "named"),
    [
        ("click<1", "click"),
        ("no-such-package>=1", "no-such-package is not installed"),
        ("redis>=999", "needed is >=999"),
    ],
)
def test_a_package_out_of_its_range_is_named(requirement: str, named: str) -> None:
    found = compare_packages(["click>=8", requirement])
    assert found.verdict is Verdict.FAIL
    assert named in found.found


@pytest.mark.parametrize(
    "requirement", ["no-such-package ; extra == 'openai'", "click<1 ; python_version < '3'", "click<1 ; extra == 'dev'"]
)
def test_a_package_that_does_not_apply_here_is_no_matter(requirement: str) -> None:
    assert compare_packages(["click>=8", requirement]).verdict is Verdict.OK


def test_an_installed_optional_package_is_compared() -> None:
    assert compare_packages(["click<1 ; extra == 'openai'"]).verdict is Verdict.FAIL


def test_nothing_declared_is_worth_a_warning() -> None:
    assert compare_packages([]).verdict is Verdict.WARN


def test_disk_is_looked_at_where_data_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "stack" / "env"
    file.parent.mkdir()
    file.write_text("AGENTSTATE_DATABASE_URL=postgresql://u:p@host/name\n")
    assert data_folder(System(lambda: Settings.load(env_file=file), env_file=file)) == file.parent
    database = {"database_url": f"sqlite:///{tmp_path}/agent.db"}
    assert data_folder(System(lambda: Settings.load(env_file=file, **database), env_file=file)) == tmp_path
    monkeypatch.setenv("AGENTSTATE_ENV_FILE", "/no/such/file")
    assert data_folder(System(Settings.load)) == Path()


def test_the_version_is_known() -> None:
    assert package_version()[0].isdigit()


def test_no_worker_is_a_failure_and_a_queue_without_one_a_warning() -> None:
    assert redis_server.assess_workers({}).verdict is Verdict.FAIL
    assert redis_server.assess_workers({"io@host": list(QUEUES)}).verdict is Verdict.OK
    partly = redis_server.assess_workers({"io@host": list(QUEUES[1:])})
    assert partly.verdict is Verdict.WARN
    assert QUEUES[0] in partly.found


@pytest.mark.parametrize(
    ("about", "points", "verdict"),
    [
        ({"version": "1.20.0", "engine": "edge 0.9.0"}, 100_000, Verdict.OK),
        ({"version": "1.20.0", "engine": "edge 0.9.0"}, 100_001, Verdict.WARN),
        ({"version": "1.20.3"}, 5_000_000, Verdict.OK),
        ({"version": "1.19.9"}, 0, Verdict.FAIL),
        ({"version": "2.0.0"}, 0, Verdict.WARN),
    ],
)
def test_qdrant_is_judged_by_version_and_ceiling(about: dict[str, str], points: int, verdict: Verdict) -> None:
    assert qdrant.assess_qdrant(about, points).verdict is verdict


def test_a_check_needs_only_what_comes_before_it() -> None:
    before: set[str] = set()
    for check in CHECKS:
        assert check.needs is None or check.needs in before, check
        before.add(check.name)
    assert len(before) == len(CHECKS)


def test_a_check_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidInput, match="there is no check odd"):
        run_checks(System(), only=["odd"])
