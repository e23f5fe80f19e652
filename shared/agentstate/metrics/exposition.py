"""The metrics as Prometheus reads them: as text, or over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from agentstate.errors import AgentStateError, ConfigurationError
from agentstate.metrics.measures import MEASURES, STORE_UP, Measure, Sample
from agentstate.store.store import Store

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

LOOPBACK = "127.0.0.1"


def make_registry(store: Callable[[], Store]) -> CollectorRegistry:
    """Return a registry that reads the durable store at each collection.

    Args:
        store: gives it; called at each collection.

    Raises:
        ConfigurationError: the package `prometheus-client` is not installed.
    """
    try:
        from prometheus_client import CollectorRegistry
    except ImportError:
        raise ConfigurationError(
            "metrics need a package that is not installed: pip install 'agentstate[metrics]'."
        ) from None
    made = CollectorRegistry(auto_describe=False)
    made.register(_StoreCollector(store))
    return made


def render_metrics(found: CollectorRegistry) -> str:
    """All metrics in Prometheus' text format."""
    from prometheus_client import generate_latest

    return generate_latest(found).decode()


@contextmanager
def serve_metrics(found: CollectorRegistry, port: int, host: str = LOOPBACK) -> Iterator[int]:
    """Serve the metrics over HTTP until the block ends; gives the port, which is chosen when `port` is 0.

    Raises:
        ConfigurationError: the port is taken, or the host is no address of this machine.
    """
    from prometheus_client import start_http_server

    try:
        server, thread = start_http_server(port, host, found)
    except OSError as error:
        raise ConfigurationError(f"metrics cannot be served on {host}:{port}: {error.strerror}.") from error
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _StoreCollector:
    """Asks the durable store, in one transaction that only reads, each time it is asked."""

    def __init__(self, store: Callable[[], Store]) -> None:
        self._store = store

    def describe(self) -> Iterable[Metric]:
        """The metrics without their values, so that none is asked for at registration."""
        return [_make_family(measure, []) for measure in (STORE_UP, *MEASURES)]

    def collect(self) -> Iterable[Metric]:
        """The metrics as they are now."""
        try:
            with self._store().read_connection() as connection:
                read = [_make_family(measure, list(measure.read(connection))) for measure in MEASURES]
        except AgentStateError:
            return [_make_family(STORE_UP, [((), 0.0)])]
        return [_make_family(STORE_UP, [((), 1.0)]), *read]


def _make_family(measure: Measure, samples: Iterable[Sample]) -> Metric:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    kind = CounterMetricFamily if measure.kind == "counter" else GaugeMetricFamily
    family: CounterMetricFamily | GaugeMetricFamily = kind(measure.name, measure.about, labels=measure.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family
