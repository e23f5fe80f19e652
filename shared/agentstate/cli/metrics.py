"""`agentstate metrics`: the fleet's metrics for Prometheus, printed once or served."""

from __future__ import annotations

import signal
import threading
from typing import Any

import click

from agentstate.cli import output
from agentstate.cli.invocation import Invocation, pass_invocation
from agentstate.cli.verb import Verb


@click.command(cls=Verb)
@click.option("--port", type=click.IntRange(0, 65_535), help="Serve them on this port until stopped; 0 chooses one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to serve them on.")
@pass_invocation
def metrics(invocation: Invocation, *, port: int | None, host: str) -> None:
    """Print metrics for Prometheus, or serve them.

    They are read from the durable store at each scrape, for the whole fleet: one exporter is enough. Nobody is asked
    for a password, so serve them where only your Prometheus reaches.
    """
    from agentstate import metrics as library

    if port is not None and invocation.as_json:
        raise click.UsageError("--json prints the metrics once; it does not go with --port.")
    with invocation.open_system(0.0) as system:
        found = library.make_registry(lambda: system.store)
        if port is None:
            _print_metrics(invocation, found)
        else:
            with library.serve_metrics(found, port, host) as chosen:
                output.print_line(f"metrics are served on http://{host}:{chosen}/metrics")
                _wait_for_sigterm()


def _print_metrics(invocation: Invocation, found: Any) -> None:
    from agentstate.metrics import render_metrics

    if not invocation.as_json:
        click.echo(render_metrics(found), nl=False)
        return
    samples = [sample for family in found.collect() for sample in family.samples]
    output.print_document(
        {"samples": [{"name": each.name, "labels": each.labels, "value": each.value} for each in samples]}
    )


def _wait_for_sigterm() -> None:
    """Return at SIGTERM; Ctrl-C ends the run as everywhere."""
    ended = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: ended.set())
    try:
        ended.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
