"""One running server for all clients of a test module."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.ports import find_port
from tests.kit.processes import Process, open_configuration, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A plain Matrix homeserver that lets anybody register."""
    folder: Path = tmp_path_factory.mktemp("server")
    with running(folder, open_configuration(find_port())) as process:
        yield process
