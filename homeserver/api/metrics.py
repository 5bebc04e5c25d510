"""What is counted, and the page Prometheus reads it from.

Counting on the way of a request is adding to plain numbers that the route already holds; the metric families are
built, and the Prometheus library is imported, only when somebody reads the page.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Protocol

from homeserver.api.route import Answer, Call, Route

if TYPE_CHECKING:
    from prometheus_client.core import Metric

REQUEST_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
TURN_SECONDS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0)
BATCH_UNITS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500)

LONG_TURN_SECONDS: Final = 0.05
"""A turn of the reactor longer than this keeps everybody waiting and is counted as a fault."""


class Distribution:
    """How often values fell into which bucket: a histogram as two numbers and a list."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, float]]:
        """The buckets as Prometheus wants them: upper bound and how many were not above it."""
        pairs = []
        so_far = 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            so_far += count
            pairs.append((bound, float(so_far)))
        return pairs


class RouteCount:
    """The requests to one route: how many ended how, and how long they took."""

    __slots__ = ("method", "path", "seconds", "statuses")

    def __init__(self, method: str, path: str) -> None:
        self.method = method
        self.path = path
        self.statuses: dict[int, int] = {}
        self.seconds = Distribution(REQUEST_SECONDS)

    def add(self, status: int, seconds: float) -> None:
        """Count one answered request."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.seconds.add(seconds)


class Poll(Protocol):
    """What waits for the network: a poller's `poll`."""

    def poll(self, *args: Any) -> Any:
        """Wait, and tell which files are ready."""


class Turns:
    """The time the reactor spends outside of waiting, turn by turn.

    It stands in for the reactor's poller, and measures from the end of one wait to the start of the next.
    """

    def __init__(self, poller: Poll) -> None:
        self._poller = poller
        self._began = perf_counter()
        self.seconds = Distribution(TURN_SECONDS)
        self.long = 0

    def poll(self, *args: Any) -> Any:
        """Wait as the real poller does; what went before was one turn."""
        took = perf_counter() - self._began
        self.seconds.add(took)
        if took > LONG_TURN_SECONDS:
            self.long += 1
        try:
            return self._poller.poll(*args)
        finally:
            self._began = perf_counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poller, name)


def watch_turns(reactor: object) -> Turns | None:
    """Start measuring the turns of that reactor; None if it is not of the kind that polls."""
    poller = getattr(reactor, "_poller", None)
    if poller is None or isinstance(poller, Turns):
        return poller
    turns = Turns(poller)
    reactor._poller = turns  # type: ignore[attr-defined]  # the one seam a polling reactor has
    return turns


class Metrics:
    """Everything that is counted; other parts are asked when the page is read.

    `gauges` gives plain numbers by metric name (cache sizes, queue lengths, the stream position); `batches` is where
    the writer counts the units of each commit.
    """

    def __init__(self) -> None:
        self.turns: Turns | None = None
        self.batches = Distribution(BATCH_UNITS)
        self.gauges: list[Callable[[], Mapping[str, float]]] = []
        self.strays = RouteCount("", "unrecognized")
        self._routes: dict[Route | None, RouteCount] = {None: self.strays}

    def route(self, route: Route) -> RouteCount:
        """Where requests to that route are counted."""
        count = self._routes.get(route)
        if count is None:
            count = self._routes[route] = RouteCount(route.method, route.path)
        return count

    def collect(self) -> Iterator["Metric"]:
        """The metric families, as a Prometheus registry asks for them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        requests = CounterMetricFamily("parta_requests", "Requests answered", labels=["method", "route", "status"])
        times = HistogramMetricFamily("parta_request_seconds", "Time to the answer", labels=["method", "route"])
        for count in self._routes.values():
            for status, number in count.statuses.items():
                requests.add_metric([count.method, count.path, str(status)], number)
            if count.statuses:
                times.add_metric([count.method, count.path], count.seconds.cumulative(), count.seconds.total)
        yield requests
        yield times
        batches = HistogramMetricFamily("parta_writer_batch_units", "Units of work in one commit")
        batches.add_metric([], self.batches.cumulative(), self.batches.total)
        yield batches
        if self.turns is not None:
            turns = HistogramMetricFamily("parta_reactor_turn_seconds", "Time from one wait to the next")
            turns.add_metric([], self.turns.seconds.cumulative(), self.turns.seconds.total)
            yield turns
            yield CounterMetricFamily("parta_reactor_long_turns", "Turns over 50 ms", value=self.turns.long)
        for gauges in self.gauges:
            for name, value in gauges().items():
                yield GaugeMetricFamily(f"parta_{name}", name.replace("_", " "), value=value)


def routes(metrics: Metrics) -> tuple[Route, ...]:
    """The page itself."""

    async def show(call: Call) -> Answer:
        from prometheus_client import ProcessCollector
        from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
        from prometheus_client.registry import CollectorRegistry

        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Once(metrics.collect()))
        ProcessCollector(registry=registry)
        return Answer(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return (Route(method="GET", path="/metrics", handle=show, auth="none"),)


class _Once:
    """A collector that gives what it was given."""

    def __init__(self, families: Iterable["Metric"]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable["Metric"]:
        """The families."""
        return self._families
