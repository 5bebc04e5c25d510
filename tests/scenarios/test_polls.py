"""The school asks a question: everybody answers it where only few may speak."""

from typing import Any
from urllib.parse import quote

from homeserver.schools.rights import Kind
from tests.kit.district import DistrictCase, try_to_send

POLL = "org.matrix.msc3381.poll"
ONE_OF_TWO = {
    "org.matrix.msc1767.text": "A trip?",
    f"{POLL}.start": {
        "kind": f"{POLL}.disclosed",
        "max_selections": 1,
        "question": {"org.matrix.msc1767.text": "A trip?"},
        "answers": [{"id": name, "org.matrix.msc1767.text": name} for name in ("yes", "no")],
    },
}


def vote(poll: str, *chosen: str) -> dict[str, Any]:
    return {
        "m.relates_to": {"rel_type": "m.reference", "event_id": poll},
        f"{POLL}.response": {"answers": list(chosen)},
    }


class Polls(DistrictCase):
    async def test_a_poll_in_the_channel(self) -> None:
        director, teacher, pupil = [await self.sign_in(name) for name in ("admin1", "teacher1", "pupil1")]
        channel = await self.room(Kind.CHANNEL)

        # the director asks, a pupil may not
        assert (await try_to_send(pupil, channel, f"{POLL}.start", **ONE_OF_TWO)).status == 403
        poll = await director.send_event(channel, f"{POLL}.start", ONE_OF_TWO)

        # all answer, and may think again
        votes = [
            await person.send_event(channel, f"{POLL}.response", vote(poll, chosen))
            for person, chosen in ((teacher, "yes"), (pupil, "no"), (pupil, "yes"))
        ]

        # but say nothing by it
        for content in (vote(poll, "meet me at five"), {**vote(poll, "yes"), "body": "at five"}, vote("$none", "yes")):
            path = f"/rooms/{quote(channel)}/send/{POLL}.response/{len(str(content))}"
            assert await pupil.refused("PUT", path, content) == (403, "M_FORBIDDEN")
        state = f"/rooms/{quote(channel)}/state/{POLL}.response/"
        assert await pupil.refused("PUT", state, vote(poll, "yes")) == (403, "M_FORBIDDEN")

        # the answers are found from the poll, and one that comes too late is one more for clients to leave out
        await director.send_event(
            channel, f"{POLL}.end", {"m.relates_to": vote(poll)["m.relates_to"], f"{POLL}.end": {}}
        )
        late = await teacher.send_event(channel, f"{POLL}.response", vote(poll, "no"))
        path = f"/_matrix/client/v1/rooms/{quote(channel)}/relations/{quote(poll, safe='')}/m.reference/{POLL}.response"
        found = await pupil.ok("GET", path)
        assert [event["event_id"] for event in found["chunk"]] == [late, *votes[::-1]]
