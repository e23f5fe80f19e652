"""How a run ends: exit code 0 for done, 1 for failed, 2 for wrong usage; an error is one line.

With `--json` the error is a JSON document on standard error, `{"error": {"type": ..., "message": ...}}`.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable

import click

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
        return _report_usage(error, as_json=as_json)
    except (click.Abort, KeyboardInterrupt):
        _print_error("Interrupted", "interrupted; acknowledged work is kept", as_json=as_json)
        return INTERRUPTED
    except AgentStateError as error:
        return _report_failure(error, error.message, as_json=as_json, debug=debug)
    except Exception as error:  # noqa: BLE001 the user gets a line and a way to more, not a page of our insides
        message = f"unexpected {type(error).__name__}: {_first_line(error)}. run `agentstate doctor` to find the cause"
        hint = "" if debug else "; --debug shows where it happened"
        return _report_failure(error, message + hint, as_json=as_json, debug=debug)


def _report_usage(error: click.ClickException, *, as_json: bool) -> int:
    if as_json:
        _print_error("Usage", error.format_message(), as_json=True)
    else:
        error.show()
    return error.exit_code


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
