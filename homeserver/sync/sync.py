"""A sync from request to answer: what is new is told at once; where nothing is, the request waits for it.

Spec: client-server-api#syncing
"""

from collections import OrderedDict
from contextlib import suppress
from typing import Final

from twisted.internet.defer import Deferred, ensureDeferred

from federation.ids import DeviceID, UserID
from homeserver.policy import Invalid
from homeserver.storage.database import StorageUnavailable
from homeserver.storage.todevice import remove
from homeserver.streams import Feed
from homeserver.sync.answers import Answers, Draft, Request, Sources, finish
from homeserver.sync.known import MOST_KNOWN, Known
from homeserver.sync.news import News, add_news, hear, read_news
from homeserver.sync.reading import Found, Unwanted, read_keys, read_unwanted
from homeserver.sync.sliding.engine import Sliding
from homeserver.sync.tokens import SyncToken

LONGEST_MS: Final = 120_000
"""How long a sync waits at most."""


class Sync:
    """Answers syncs; `sliding` those that slide."""

    def __init__(self, sources: Sources) -> None:
        self.sliding = Sliding(sources)
        self._sources = sources
        self._streams = sources.streams
        self._answers = Answers(sources)
        self._unwanted: Known[UserID, Unwanted] = Known("account_data")
        self._keys: Known[tuple[UserID, DeviceID], bytes] = Known("one_time_keys")
        self._handed: OrderedDict[tuple[UserID, DeviceID], int] = OrderedDict()

    async def answer(self, request: Request, gone: Deferred[None] | None = None) -> bytes:
        """The answer, a JSON object; at the latest when the request's time is over or `gone` fires.

        Raises:
            Invalid: the token is of the future.

        Spec: client-server-api#get_matrixclientv3sync
        """
        since = request.since
        if since is not None and max(since.position, since.taken) > self._streams.position:
            raise Invalid("M_INVALID_PARAM", "since is a token of the future")
        with self._streams.listening(request.user_id) as feed:
            await self._streams.ready(feed)
            self._sources.presences.attend(request.user_id, request.presence, min(request.timeout_ms, LONGEST_MS))
            if since is None:
                self._answers.begin(request)
                await self._find_unwanted(feed)
                shown = await self._compose(request, feed, None, self._now(), News())
                return shown or b"{}"
            removal = self._acknowledge(request, since) if request.messages else None
            answer = await self._answer_news(request, feed, since, gone)
            if removal is not None:
                await removal  # what is acknowledged comes to nobody any more once this is answered
            return answer

    async def _answer_news(self, request: Request, feed: Feed, since: SyncToken, gone: Deferred[None] | None) -> bytes:
        """Tell what is new, else wait for it; what turns out not to be wanted is skipped once and for all."""
        clock = self._sources.clock
        deadline_s = clock.seconds() + min(request.timeout_ms, LONGEST_MS) / 1000
        news, heard = await self._find_news(request, feed, since)
        while True:
            await self._find_unwanted(feed)
            upto = self._now()
            if upto != heard:
                news = add_news(news, hear(feed, heard))
            if not news.is_empty or request.full_state:
                shown = await self._compose(request, feed, since, upto, news)
                if shown is not None:
                    return shown
            keys = await self._find_keys(request, feed)
            left_s = deadline_s - clock.seconds()
            if left_s <= 0 or request.full_state:
                return finish(upto, (), keys)
            if upto == self._now() and await self._streams.wait(feed, request.device_id, left_s, gone) != "news":
                return finish(upto, (), keys)
            since = heard = upto
            news = hear(feed, since)
            heard = self._now()

    async def _find_news(self, request: Request, feed: Feed, since: SyncToken) -> tuple[News, SyncToken]:
        """What is new since a token, and the moment up to which that was looked for."""
        heard = self._now()
        if feed.floor <= since.position and feed.serial_floor <= since.serial <= heard.serial:
            return hear(feed, since), heard
        news = await self._sources.database.read(read_news, request.user_id, since, heard.position)
        typing, presences = self._sources.typing, self._sources.presences
        stirred = self._streams.stirred_since(since.serial)
        news.typing = [room_id for room_id in feed.rooms if room_id in stirred or typing.users(room_id)]
        others = [other.user_id for other in self._streams.companions(request.user_id)] if presences.enabled else []
        others += presences.heard_in(feed.rooms)
        news.presence = [other for other in others if presences.find(other).state != "offline"]
        return news, heard

    async def _compose(
        self, request: Request, feed: Feed, since: SyncToken | None, upto: SyncToken, news: News
    ) -> bytes | None:
        device = (request.user_id, request.device_id)
        draft = Draft(
            request=request,
            feed=feed,
            since=since,
            upto=upto,
            news=news,
            unwanted=self._unwanted.find(request.user_id, feed) or Unwanted(),
        )
        keys = self._keys.find(device, feed) or b""
        shown, found = await self._answers.compose(draft, keys)
        if found.keys:
            self._keys.note(device, upto.position, found.keys)
        await self._take_note(device, found, since)
        return shown

    def _now(self) -> SyncToken:
        position = self._streams.position
        return SyncToken(position, self._streams.serial, position)

    async def _find_unwanted(self, feed: Feed) -> Unwanted:
        unwanted = self._unwanted.find(feed.user_id, feed)
        while unwanted is None:
            position = self._streams.position
            found = await self._sources.database.read(read_unwanted, feed.user_id)
            self._unwanted.note(feed.user_id, position, found)
            unwanted = self._unwanted.find(feed.user_id, feed)
        return unwanted

    async def _find_keys(self, request: Request, feed: Feed) -> bytes:
        device = (request.user_id, request.device_id)
        known = self._keys.find(device, feed)
        if known is not None:
            return known
        position = self._streams.position
        return self._keys.note(device, position, await self._sources.database.read(read_keys, *device))

    # messages to the device

    async def _take_note(self, device: tuple[UserID, DeviceID], found: Found, since: SyncToken | None) -> None:
        """Messages were handed out: the next token that covers them says that they have come."""
        if found.messages:
            self._handed[device] = found.messages[-1][0]
            self._handed.move_to_end(device)
            if len(self._handed) > MOST_KNOWN:
                self._handed.popitem(last=False)
        if found.received and since is not None:
            await self._remove(device, since.taken)

    def _acknowledge(self, request: Request, since: SyncToken) -> Deferred[None] | None:
        """The client has what came with this token: messages up to there are removed, if there are any."""
        device = (request.user_id, request.device_id)
        handed = self._handed.get(device)
        if handed is None or handed > since.taken:
            return None
        del self._handed[device]
        return self._remove(device, handed)

    def _remove(self, device: tuple[UserID, DeviceID], upto: int) -> Deferred[None]:
        return ensureDeferred(self._try_remove(device, upto))

    async def _try_remove(self, device: tuple[UserID, DeviceID], upto: int) -> None:
        """Remove messages; those that could not be are found again, and removed, after the next start."""
        with suppress(StorageUnavailable):
            await self._sources.database.write(remove, *device, upto)
