"""What is counted, and the page that shows it."""

from twisted.internet.task import Clock

from homeserver.api import metrics
from homeserver.api.metrics import Distribution, Metrics, Turns, watch_turns
from homeserver.api.route import Route
from tests.kit.edges import EdgeCase


class Page(EdgeCase):
    """The page Prometheus reads."""

    def lines(self) -> list[str]:
        return self.ask("GET", "/metrics", token=None).body.decode().splitlines()

    def test_it_shows_requests_by_route_and_status_and_how_long_they_took(self) -> None:
        async def show(call: object) -> dict[str, str]:
            return {}

        path = "/_matrix/client/v3/things/{id}"
        self.serve(Route(method="GET", path=path, handle=show), *metrics.routes(self.metrics))
        self.ask("GET", "/_matrix/client/v3/things/secret")
        self.ask("GET", "/none")
        lines = self.lines()
        assert f'parta_requests_total{{method="GET",route="{path}",status="200"}} 1.0' in lines
        assert 'parta_requests_total{method="",route="unrecognized",status="404"} 1.0' in lines
        assert f'parta_request_seconds_count{{method="GET",route="{path}"}} 1.0' in lines
        assert not any("secret" in line for line in lines)

    def test_it_shows_batches_turns_and_what_others_count(self) -> None:
        self.serve(*metrics.routes(self.metrics))
        self.metrics.batches.add(3)
        self.metrics.turns = Turns(Poller())
        self.metrics.gauges.append(lambda: {"live_rooms": 5})
        lines = self.lines()
        assert "parta_writer_batch_units_sum 3.0" in lines
        assert 'parta_writer_batch_units_bucket{le="2"} 0.0' in lines
        assert 'parta_writer_batch_units_bucket{le="5"} 1.0' in lines
        assert "parta_live_rooms 5.0" in lines
        assert "parta_reactor_long_turns_total 0.0" in lines
        assert any(line.startswith("process_resident_memory_bytes ") for line in lines)

    def test_it_has_the_content_type_that_prometheus_wants(self) -> None:
        self.serve(*metrics.routes(self.metrics))
        assert self.ask("GET", "/metrics", token=None).headers["content-type"].startswith("text/plain; version=")


class Poller:
    """Waits no time at all."""

    closed = False

    def poll(self, timeout: float, events: int) -> list[int]:
        return [events]


def test_a_distribution_counts_values_up_to_and_with_each_bound() -> None:
    distribution = Distribution((1, 2))
    for value in (0.5, 1, 1.5, 2, 3):
        distribution.add(value)
    assert distribution.cumulative() == [("1", 2.0), ("2", 4.0), ("+Inf", 5.0)]
    assert distribution.total == 8


def test_turns_are_measured_between_waits_and_long_ones_counted(monkeypatch: object) -> None:
    times = iter([0.0, 0.01, 5.0, 5.2, 9.0])
    monkeypatch.setattr(metrics, "perf_counter", lambda: next(times))  # type: ignore[attr-defined]
    turns = Turns(Poller())
    assert turns.poll(1.0, 7) == [7]
    assert turns.poll(1.0, 8) == [8]
    assert round(turns.seconds.total, 6) == 0.21
    assert turns.long == 1
    assert turns.closed is False


def test_a_reactor_that_polls_is_watched_once() -> None:
    class Reactor:
        _poller: object = Poller()

    reactor = Reactor()
    turns = watch_turns(reactor)
    assert reactor._poller is turns
    assert watch_turns(reactor) is turns
    assert watch_turns(Clock()) is None


def test_a_route_is_counted_in_one_place() -> None:
    async def show(call: object) -> dict[str, str]:
        return {}

    route = Route(method="GET", path="/", handle=show)
    counted = Metrics()
    assert counted.route(route) is counted.route(route)
