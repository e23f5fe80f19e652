"""Command classes: every verb takes `--json`, groups make such verbs, and the root reports errors in one line.

The exit code is 0 for done, 1 for failed, 2 for wrong usage. With `--json` the error is a JSON document on standard
error, `{"error": {"type": ..., "message": ...}}`.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import click

from agentstate.cli.invocation import Invocation
from agentstate.errors import AgentStateError

FAILED, USAGE, INTERRUPTED = 1, 2, 130


def exit_code(run: Callable[[], object], *, as_json: bool, debug: bool) -> int:
    """Call `run`, report any error, and return the exit code."""
    try:
        ended = run()
        return ended if isinstance(ended, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return USAGE
    except click.ClickException as error:
        if as_json:
            _print_error("Usage", error.format_message(), as_json=True)
        else:
            error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _print_error("Interrupted", "interrupted; acknowledged work is kept", as_json=as_json)
        return INTERRUPTED
    except AgentStateError as error:
        return _report_failure(error, error.message, as_json=as_json, debug=debug)
    except Exception as error:  # noqa: BLE001 the user gets a line and a way to more, not a page of our insides
        message = f"unexpected {type(error).__name__}: {_first_line(error)}. run `agentstate doctor` to find the cause"
        hint = "" if debug else "; --debug shows where it happened"
        return _report_failure(error, message + hint, as_json=as_json, debug=debug)


def _report_failure(error: Exception, message: str, *, as_json: bool, debug: bool) -> int:
    if debug:
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    _print_error(type(error).__name__, message, as_json=as_json)
    return FAILED


def _print_error(kind: str, message: str, *, as_json: bool) -> None:
    document = json.dumps({"error": {"type": kind, "message": message}}, ensure_ascii=False)
    click.echo(document if as_json else f"error: {' '.join(message.split())}", err=True)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:300]


class Verb(click.Command):
    """A command with `--json`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.params += [
            click.Option(
                ["--json"],
                is_flag=True,
                expose_value=False,
                callback=_note_json,
                help="Answer with one JSON document on standard output; errors as JSON on standard error.",
            ),
            # The root's option, taken at the end of the line too, where it is added after a failure.
            click.Option(["--debug"], is_flag=True, expose_value=False, hidden=True),
        ]


class Verbs(click.Group):
    """A group of `Verb` commands."""

    command_class = Verb
    group_class = type


class Root(Verbs):
    """The whole command."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002 the signature is Click's
        **extra: Any,
    ) -> Any:
        """Run, report an error in one line, and exit with its code."""
        words = list(sys.argv[1:] if args is None else args)

        def run() -> object:
            return super(Root, self).main(words, prog_name, complete_var, standalone_mode=False, **extra)

        if not standalone_mode:
            return run()
        before_dashes = words[: words.index("--")] if "--" in words else words
        sys.exit(exit_code(run, as_json="--json" in before_dashes, debug="--debug" in before_dashes))


def _note_json(context: click.Context, _option: click.Parameter, value: bool) -> None:  # noqa: FBT001 called by Click
    if not context.resilient_parsing:
        context.ensure_object(Invocation).as_json = value


class Moment(click.ParamType[datetime]):
    """The type of an option that is a time."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Parse a time with its time zone."""
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time; write it as 2026-01-31T12:00:00Z.", param, ctx)
        return moment if moment.tzinfo else self.fail(f"{value!r} has no zone; end it with Z for UTC.", param, ctx)
