"""Shell completion: the script for each shell, and the values of arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from agentstate.cli import output
from agentstate.cli.invocation import Invocation
from agentstate.cli.verb import Verb
from agentstate.errors import AgentStateError, InvalidInput

SHELLS = ("bash", "zsh", "fish")
PROGRAM = "agentstate"
VARIABLE = "_AGENTSTATE_COMPLETE"
_MOST = 50


@click.command(cls=Verb)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion_command(context: click.Context, shell: str) -> None:
    """Print the completion script for a shell.

    \b
    bash:  eval "$(agentstate completion bash)"       in ~/.bashrc
    zsh:   eval "$(agentstate completion zsh)"        in ~/.zshrc
    fish:  agentstate completion fish > ~/.config/fish/completions/agentstate.fish
    """  # noqa: D301 Click's mark is the character, not the two that a raw text would give it
    found = get_completion_class(shell)
    if found is None:
        raise InvalidInput(f"there is no completion for {shell}; there is for {', '.join(SHELLS)}.")
    script = found(context.find_root().command, {}, PROGRAM, VARIABLE).source_template % {
        "complete_func": f"_{PROGRAM}_completion",
        "complete_var": VARIABLE,
        "prog_name": PROGRAM,
    }
    if context.ensure_object(Invocation).as_json:
        output.print_document({"shell": shell, "script": script})
    else:
        click.echo(script)


def job_id_type(*statuses: str) -> click.ParamType[str]:
    """Return the type of a job id, completed with the newest jobs of these statuses, or of all."""
    return _JobId(statuses)


class KindOfJob(click.ParamType[str]):
    """Type of an existing kind of job."""

    name = "kind"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the kind; refuse an unknown one."""
        from agentstate.jobs.kinds import KINDS

        if value not in KINDS:
            self.fail(f"there is no kind {value!r}; there are {', '.join(sorted(KINDS))}.", param, ctx)
        return value

    def shell_complete(self, _ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the kinds with this prefix."""
        from agentstate.jobs.kinds import KINDS

        found = [spec for kind, spec in sorted(KINDS.items()) if kind.startswith(incomplete)]
        return [CompletionItem(spec.kind, help=spec.summary) for spec in found]


class _JobId(click.ParamType[str]):
    name = "id"

    def __init__(self, statuses: Sequence[str]) -> None:
        self._statuses = statuses

    def convert(self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None) -> str:
        """Return the text; the library checks it."""
        return str(value)

    def shell_complete(self, ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the ids with this prefix; none when the store does not answer."""
        invocation = Invocation(ctx.find_root().params.get("env_file"))
        try:
            listing = invocation.runtime.jobs.list
            found = [job for status in self._statuses or (None,) for job in listing(status=status, limit=_MOST)]
        except AgentStateError:
            return []
        finally:
            invocation.close()
        return [
            CompletionItem(str(job.id), help=f"{job.kind} {job.status}")
            for job in found
            if str(job.id).startswith(incomplete)
        ]
