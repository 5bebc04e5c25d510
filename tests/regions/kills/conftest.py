"""Two servers in processes of their own, on both databases."""

from collections.abc import Iterator

import pytest

from config.settings import PostgreSQL
from tests.kit.databases import make_on_cluster, session_cluster
from tests.kit.killing import Pair
from tests.kit.strangers import Person
from tests.kit.twins import Twin, twins


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Twin, Twin]]:
    """Both servers."""
    settings = make_on_cluster(session_cluster()).settings
    assert isinstance(settings, PostgreSQL)
    postgresql = {"engine": "postgresql", "dsn": settings.dsn}
    with twins(tmp_path_factory.mktemp("twins"), {"engine": "sqlite"}, postgresql) as pair:
        yield pair


@pytest.fixture
def pair(both: tuple[Twin, Twin], request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Both servers; home is the one with the database that the test names, or SQLite."""
    north, south = both
    for twin in both:
        twin.start()
    yield Pair(south, north) if getattr(request, "param", "sqlite") == "postgresql" else Pair(north, south)
    assert "Traceback" not in north.process.log + south.process.log


@pytest.fixture
def people(pair: Pair) -> tuple[Person, Person]:
    """Anna at home, and Bob away."""
    return pair.home.person("anna"), pair.away.person("bob")
