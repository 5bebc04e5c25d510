"""All doors to rooms, put together: what the composition root and tests build, and others take their part of."""

from dataclasses import dataclass

from homeserver.accounts.appservices.questions import NO_SERVICES, Questions
from homeserver.policy import Policy
from homeserver.rooms.aliases import Aliases
from homeserver.rooms.create import Creation
from homeserver.rooms.dates import Dates
from homeserver.rooms.directory import Directory
from homeserver.rooms.history import History
from homeserver.rooms.members import Members
from homeserver.rooms.membership import FindProfile, Memberships
from homeserver.rooms.mutual import Mutual
from homeserver.rooms.networks import Networks
from homeserver.rooms.people import People
from homeserver.rooms.relating import Relating
from homeserver.rooms.relations import Relations
from homeserver.rooms.reports import Reports
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.search.search import Search
from homeserver.rooms.send import Sending
from homeserver.rooms.spaces import Spaces
from homeserver.rooms.state import Settings, States
from homeserver.rooms.summaries import Summaries
from homeserver.rooms.transactions import Transactions
from homeserver.rooms.upgrade import Upgrades
from homeserver.rooms.view import Views
from homeserver.storage.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """Everything that one can do to rooms, by what it is about."""

    rooms: Rooms
    views: Views
    history: History
    members: Members
    states: States
    settings: Settings
    sending: Sending
    memberships: Memberships
    creation: Creation
    aliases: Aliases
    directory: Directory
    networks: Networks
    people: People
    upgrades: Upgrades
    summaries: Summaries
    spaces: Spaces
    dates: Dates
    mutual: Mutual
    reports: Reports
    relations: Relations
    transactions: Transactions
    search: Search


def build_doors(
    rooms: Rooms,
    database: Database,
    policy: Policy,
    find_profile: FindProfile,
    default_version: str,
    questions: Questions = NO_SERVICES,
) -> Doors:
    """The doors to these rooms, each of which asks the policy."""
    views = Views(rooms, database, policy)
    history = History(database, views)
    memberships = Memberships(rooms, database, policy, find_profile, questions)
    aliases = Aliases(rooms, database, policy, rooms.seal.now_ms, questions)
    summaries = Summaries(rooms, policy, aliases)
    transactions = Transactions(database)
    return Doors(
        rooms=rooms,
        views=views,
        history=history,
        members=Members(database, views),
        states=States(database, views),
        settings=Settings(rooms, database, policy, memberships, aliases),
        sending=Sending(rooms, views, history, policy, transactions, Relating(database)),
        memberships=memberships,
        creation=Creation(rooms, database, policy, find_profile, default_version, questions=questions),
        aliases=aliases,
        directory=Directory(rooms, database, policy),
        networks=Networks(rooms, database, policy, questions.services),
        people=People(rooms, database, find_profile),
        upgrades=Upgrades(rooms, policy, find_profile),
        summaries=summaries,
        spaces=Spaces(rooms, summaries),
        dates=Dates(database, views),
        mutual=Mutual(database, policy),
        reports=Reports(rooms, database, policy, views, history, summaries),
        relations=Relations(database, views),
        transactions=transactions,
        search=Search(database, views),
    )
