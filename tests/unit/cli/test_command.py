"""The command as a whole: every verb takes --json and explains itself, and every error has its form and exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from agentstate.cli.jobs import STATUSES
from agentstate.cli.root import cli
from agentstate.cli.verb import Verb, exit_code
from agentstate.errors import InvalidInput
from agentstate.jobs import JobStatus
from agentstate.jobs.kinds import BULK, KINDS


def run(*words: str, **options: object) -> Result:
    return CliRunner().invoke(cli, words, prog_name="agentstate", **options)  # type: ignore[arg-type]


def verbs(group: click.Group = cli, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from verbs(command, (*above, name))
        else:
            yield (*above, name), command


SOURCES = Path(__file__).parents[3] / "shared"
VERBS = dict(verbs())


def test_the_verbs_are_those_that_users_were_promised() -> None:
    assert {" ".join(words) for words in VERBS} == {
        "status", "doctor", "metrics", "migrate", "remember", "recall", "history", "forget", "ingest", "completion",
        "index list", "index verify", "index rebuild", "index switch-model", "index drop", "index dead", "index revive",
        "jobs list", "jobs show", "jobs dead", "jobs requeue", "jobs discard", "jobs kinds",
        "guards list", "guards set", "guards remove", "guards freeze", "guards unfreeze",
        "ledger balance", "ledger statement", "ledger attest", "ledger export", "ledger import",
        "effects list", "effects show", "effects resolve", "effects book",
        "breaks list", "breaks show", "breaks acknowledge", "breaks resolve", "services check", "services init",
    }  # fmt: skip


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_every_verb_takes_json_and_explains_itself(words: tuple[str, ...]) -> None:
    assert isinstance(VERBS[words], Verb)
    shown = run(*words, "--help")
    assert shown.exit_code == 0
    assert "--json" in shown.output
    options = [param for param in VERBS[words].params if isinstance(param, click.Option) and not param.hidden]
    assert [option.name for option in options if not option.help] == []


def test_the_list_of_verbs_is_readable() -> None:
    shown = run("--help").output
    assert "..." not in shown.split("Commands:")[1]


def test_the_version_is_told() -> None:
    shown = run("--version")
    assert shown.exit_code == 0
    assert shown.output.startswith("agentstate ")
    assert "unknown" not in shown.output


@pytest.mark.parametrize(
    "words",
    [["nonsense"], ["jobs", "list", "--status", "odd"], ["jobs", "requeue"], ["jobs", "discard", "x", "--all"],
     ["jobs", "dead", "--kind", "no.kind"], ["completion", "tcsh"], ["--env-file", "/none", "status"],
     ["jobs", "requeue", "x", "--kind", "cache.refresh"]],
)  # fmt: skip
def test_words_that_make_no_command_end_with_2(words: list[str]) -> None:
    plain = run(*words)
    assert plain.exit_code == 2
    assert plain.stdout == ""
    assert "Usage:" in plain.stderr


def test_wrong_words_are_json_when_asked() -> None:
    told = run("jobs", "requeue", "--json")
    assert told.exit_code == 2
    assert json.loads(told.stderr)["error"]["type"] == "Usage"
    assert told.stdout == ""


def test_an_error_of_ours_is_one_line_and_ends_with_1(tmp_path: Path) -> None:
    empty = tmp_path / "env"
    empty.touch()
    told = run("--env-file", str(empty), "jobs", "list")
    assert told.exit_code == 1
    assert told.stdout == ""
    assert told.stderr.startswith("error: AGENTSTATE_DATABASE_URL is not set.")
    assert told.stderr.count("\n") == 1


def test_an_error_of_ours_is_json_when_asked(tmp_path: Path) -> None:
    empty = tmp_path / "env"
    empty.touch()
    told = run("--env-file", str(empty), "jobs", "list", "--json")
    assert told.exit_code == 1
    error = json.loads(told.stderr)["error"]
    assert error["type"] == "ConfigurationError"
    assert "AGENTSTATE_DATABASE_URL" in error["message"]


@pytest.mark.parametrize("words", [["--debug", "jobs", "list"], ["jobs", "list", "--debug"]])
def test_debug_shows_where_an_error_happened(words: list[str]) -> None:
    assert "Traceback" in run(*words).stderr


def test_an_unknown_setting_is_named(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("AGENTSTATE_DATABASE_ULR=sqlite:///x.db\n")
    told = run("--env-file", str(file), "status")
    assert told.exit_code == 1
    assert "AGENTSTATE_DATABASE_ULR" in told.stderr


def test_a_wrong_value_is_named_with_what_it_should_be_unless_it_may_be_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "env"
    for line, told in {
        "LANES=no": "AGENTSTATE_LANES=no: it should be a valid integer",
        "SNAPSHOT_EVERY_S=1": "AGENTSTATE_SNAPSHOT_EVERY_S=1: it should be greater than or equal to 5",
        "DATABASE_URL=mysql://me:pf_test_word@x": "AGENTSTATE_DATABASE_URL: must begin",  # pragma: allowlist secret
    }.items():
        file.write_text(f"AGENTSTATE_DATABASE_URL=sqlite:///x.db\nAGENTSTATE_{line}\n")
        said = run("--env-file", str(file), "status").stderr
        assert told in said
        assert "pf_test_word" not in said


def failing(error: BaseException) -> int:
    def action() -> None:
        raise error

    return exit_code(action, as_json=False, debug=False)


def test_what_nobody_expected_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(TypeError("no such\nthing")) == 1
    assert capsys.readouterr().err == (
        "error: unexpected TypeError: no such. run `agentstate doctor` to find the cause; "
        "--debug shows where it happened\n"
    )


def test_an_interrupt_ends_as_shells_expect(capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(KeyboardInterrupt()) == 130
    assert "interrupted" in capsys.readouterr().err


def test_an_error_over_several_lines_becomes_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(InvalidInput("one\ntwo")) == 1
    assert capsys.readouterr().err == "error: one two\n"


def test_statuses_are_those_of_jobs() -> None:
    assert tuple(JobStatus) == STATUSES


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_call_the_command(shell: str) -> None:
    script = run("completion", shell)
    assert script.exit_code == 0
    assert f"_AGENTSTATE_COMPLETE={shell}_complete" in script.output
    assert json.loads(run("completion", shell, "--json").output) == {"shell": shell, "script": script.output[:-1]}


def completed(words: str, position: int) -> str:
    environment = {"_AGENTSTATE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(position)}
    return run(env=environment).output


def test_words_are_completed() -> None:
    assert "plain,requeue" in completed("agentstate jobs re", 2)
    assert "plain,cache.refresh" in completed("agentstate jobs list --kind cache", 4)
    assert "plain,redis-eviction" in completed("agentstate doctor --only redis", 3)


def test_completing_a_job_without_a_store_gives_nothing() -> None:
    assert completed("agentstate jobs show 0", 3).strip() == ""


def test_kinds_come_from_the_registry() -> None:
    document = json.loads(run("jobs", "kinds", "--json").output)
    by_kind = {kind["kind"]: kind for kind in document["kinds"]}
    assert set(by_kind) == set(KINDS) | set(BULK)
    assert by_kind["cache.refresh"]["payload"]["required"] == ["service"]
    assert by_kind["cache.refresh"]["task"] == "agentstate.cache.refresh"
    assert by_kind["housekeeping.sweep"]["payload"] is None


def test_kinds_are_documented_in_markdown() -> None:
    lines = run("jobs", "kinds", "--markdown").output.splitlines()
    assert len(lines) == 2 + len(KINDS) + len(BULK)
    assert all(line.startswith("| ") and line.count(" | ") == 6 for line in lines)


def test_help_and_completion_load_nothing_heavy() -> None:
    heavy = ("celery", "httpx", "numpy", "pydantic", "qdrant_client", "redis", "rich", "sqlalchemy")
    program = f"import sys, agentstate.cli.root; print([name for name in {heavy} if name in sys.modules])"
    command = [sys.executable, "-c", program]
    shown = subprocess.run(command, env={"PYTHONPATH": str(SOURCES)}, capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "agentstate", "--version"]
    shown = subprocess.run(command, env={"PYTHONPATH": str(SOURCES)}, capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("agentstate ")
    assert shown.stderr == ""
