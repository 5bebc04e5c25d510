"""A wire between a PostgreSQL client and its server that breaks when a statement passes, before it or after it."""

import shutil
import socket
import tempfile
import threading
from pathlib import Path
from typing import Literal

PATIENCE_S = 20
_CHUNK = 1 << 16
Cut = Literal["before", "after"]


class CutWire:
    """Passes connections on to the socket of a server. `arm` it, and it breaks once; `down`, and nobody gets through.

    "before": the next bytes that hold `words` don't reach the server. "after": the server does what they say and nobody
    hears of it.
    """

    def __init__(self, server: Path) -> None:
        self._server = server / ".s.PGSQL.5432"
        self.folder = Path(tempfile.mkdtemp(prefix="parta-wire-"))
        self._words = b""
        self._cut: Cut | None = None
        self.down = False
        self._down_after_cut = False
        self.cuts = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.folder / ".s.PGSQL.5432"))
        self._listener.listen()
        threading.Thread(target=self._accept, name="wire", daemon=True).start()

    def arm(self, cut: Cut, words: bytes, *, down: bool = False) -> None:
        """Break the next connection that says `words`; `down`: and let nobody through from then on."""
        self._words, self._down_after_cut, self._cut = words, down, cut

    def close(self) -> None:
        """Take no more connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        shutil.rmtree(self.folder)

    def _accept(self) -> None:
        while self._listener.fileno() >= 0:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            if self.down:
                client.close()
            else:
                threading.Thread(target=self._connect, args=(client,), name="wire", daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server:
            server.settimeout(PATIENCE_S)
            server.connect(str(self._server))
            back = threading.Thread(target=_pass_on, args=(server, client), name="wire", daemon=True)
            back.start()
            self._listen_in(client, server)
            server.shutdown(socket.SHUT_WR)  # it does what it has heard, then goes
            back.join(PATIENCE_S)

    def _listen_in(self, client: socket.socket, server: socket.socket) -> None:
        while said := _receive(client):
            cut = self._cut if self._words in said else None
            if cut is not None:
                self._cut, self.down = None, self._down_after_cut
                self.cuts += 1
                _shut(client)
            if cut != "before":
                server.sendall(said)
            if cut is not None:
                return


def _pass_on(server: socket.socket, client: socket.socket) -> None:
    while said := _receive(server):
        try:
            client.sendall(said)
        except OSError:  # cut: the server talks on to nobody
            continue
    _shut(client)


def _receive(end: socket.socket) -> bytes:
    try:
        return end.recv(_CHUNK)
    except OSError:
        return b""


def _shut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:  # shut already
        return
