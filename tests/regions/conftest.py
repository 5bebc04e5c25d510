"""Parta and a real Synapse that federate, for the stories that are told from either side."""

from collections.abc import Iterator

import pytest

from tests.kit.strangers import Person
from tests.kit.synapse import Pair, Side, federating


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Side]]:
    """Both servers."""
    with federating(tmp_path_factory.mktemp("sides")) as both:
        yield both


@pytest.fixture(params=["parta", "synapse"])
def pair(sides: dict[str, Side], request: pytest.FixtureRequest) -> Pair:
    """Both servers, and at which of them the story begins."""
    home = sides[request.param]
    (away,) = [side for side in sides.values() if side is not home]
    return Pair(home, away)


@pytest.fixture
def people(pair: Pair) -> tuple[Person, Person]:
    """Anna at home, and Bob at the other server."""
    return pair.home.person("anna"), pair.away.person("bob")
