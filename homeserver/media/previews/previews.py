"""The door of previews: who may ask, what is remembered, and one question to the web however many ask."""

from collections.abc import Callable, Container
from typing import Final

import msgspec
from twisted.internet.defer import Deferred, DeferredSemaphore

from config.settings import Previews as PreviewSettings
from federation.errors import Refused, RemoteFault
from federation.ids import UserID
from homeserver.media.previews.addresses import host_of, parse_address
from homeserver.media.previews.reader import Reader, Reading
from homeserver.policy import Invalid, Policy, PreviewPage
from homeserver.storage.database import Database
from homeserver.storage.media.previews import StoredPreview, append_preview, find_preview

AT_ONCE: Final = 4
MOST_WAITING: Final = 100
FAILED_MS: Final = 5 * 60_000
"""How long nobody tries again what said nothing."""


class PreviewsBusy(Exception):
    """So many pages wait to be asked that no other is taken."""


class Previews:
    """What pages of some hosts say, asked of the web once in a while and remembered."""

    def __init__(
        self,
        database: Database,
        policy: Policy,
        reader: Reader,
        hosts: Container[str],
        settings: PreviewSettings,
        now_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._policy = policy
        self._reader = reader
        self._hosts = hosts
        self._fresh_ms = settings.fresh_minutes * 60_000
        self._now_ms = now_ms
        self._places = DeferredSemaphore(AT_ONCE)
        self._asking: dict[str, list[Deferred[bytes]]] = {}

    async def preview(self, by: UserID, text: str, at_ms: int | None = None) -> bytes:
        """What a page says of itself, as JSON: as it was known at a time, or as it is now.

        A page that cannot be reached, or says nothing, has an empty preview: which of them it is, and where its host
        is, nobody learns.

        Raises:
            Invalid: It is no address of the web.
            Refused: That person may not ask, or nobody may ask that host.
            PreviewsBusy: Too many pages wait to be asked.

        Spec: client-server-api#get_matrixclientv1mediapreview_url
        """
        address = parse_address(text)
        if address is None:
            raise Invalid("M_INVALID_PARAM", "url is no address of the web")
        listed = host_of(address) in self._hosts
        await self._policy.check(PreviewPage(by=by, address=address, listed=listed))
        if not listed:
            raise Refused("media", "There are no previews of this page")
        now_ms = self._now_ms()
        for moment in [now_ms] if at_ms is None else [min(at_ms, now_ms), now_ms]:
            known = await self._database.read(find_preview, address, moment)
            if known is not None:
                return known.answer
        return await self._ask(address)

    def _ask(self, address: str) -> Deferred[bytes]:
        """Ask the web, or wait for the answer to somebody who asks already."""
        turn: Deferred[bytes] = Deferred()
        if address in self._asking:
            self._asking[address].append(turn)
            return turn
        if len(self._asking) >= MOST_WAITING:
            raise PreviewsBusy
        self._asking[address] = [turn]

        def tell(outcome: object) -> None:
            for waiting in self._asking.pop(address):
                waiting.callback(outcome)  # type: ignore[arg-type]  # the answer, or the failure to get it

        self._places.run(lambda: Deferred.fromCoroutine(self._make(address))).addBoth(tell)
        return turn

    async def _make(self, address: str) -> bytes:
        try:
            reading = await self._reader.read(address)
        except RemoteFault:
            reading = Reading()
        now_ms = self._now_ms()
        preview = StoredPreview(
            url=address,
            fetched_ms=now_ms,
            fresh_ms=now_ms + (self._fresh_ms if reading.answer else FAILED_MS),
            answer=msgspec.json.encode(reading.answer),
        )
        await self._database.write(append_preview, preview, reading.image)
        return preview.answer
