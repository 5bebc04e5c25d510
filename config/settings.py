"""The configuration as frozen typed records: names, types, bounds and defaults.

The names are a contract with operators: they are what the YAML file and the environment say. All paths are absolute
once loaded. Times and sizes carry their unit in the name.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, Struct, field

Resource: TypeAlias = Literal["client", "school", "admin", "console", "federation", "metrics"]
ServerNameText: TypeAlias = Annotated[
    str, Meta(pattern=r"^([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$", max_length=230)
]
Port: TypeAlias = Annotated[int, Meta(ge=0, le=65535)]
BaseURL: TypeAlias = Annotated[str, Meta(pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?$")]


class Record(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A section of the configuration: immutable, and no key but those declared."""


class TLS(Record, frozen=True, kw_only=True):
    """The certificate chain and key a listener shows, as PEM files."""

    certificate: Path
    private_key: Path


class Listener(Record, frozen=True, kw_only=True):
    """A port to answer on, and what is answered there; no `tls` means plain HTTP.

    `behind_proxy`: take the client's address from the last entry of X-Forwarded-For, which the proxy itself wrote.
    """

    port: Port
    bind: Annotated[tuple[str, ...], Meta(min_length=1)] = ("127.0.0.1",)
    tls: TLS | None = None
    resources: Annotated[tuple[Resource, ...], Meta(min_length=1)] = ("client", "school", "admin", "console")
    behind_proxy: bool = False


class SQLite(Record, frozen=True, kw_only=True, tag="sqlite", tag_field="engine"):
    """The embedded database: one file, relative to the data directory."""

    path: Path = Path("parta.db")


class PostgreSQL(Record, frozen=True, kw_only=True, tag="postgresql", tag_field="engine"):
    """A PostgreSQL database, named by a libpq connection string."""

    dsn: Annotated[str, Meta(min_length=1)]


class Registration(Record, frozen=True, kw_only=True):
    """Who may make an account for themselves."""

    mode: Literal["closed", "invite", "open"] = "closed"
    guests: bool = False
    shared_secret: Annotated[str, Meta(min_length=1)] | None = None


class RegionList(Record, frozen=True, kw_only=True):
    """Where the signed list of member regions comes from, and whose signature it needs (key ID to base64 key)."""

    file: Path | None = None
    url: BaseURL | None = None
    authority_keys: dict[str, str] = {}


class Federation(Record, frozen=True, kw_only=True):
    """With whom this region talks: the regions of the list, everybody, or nobody.

    `delegate` is where this server is for others, when that is not where its name says; announced in
    /.well-known/matrix/server. `notaries` are asked for the keys of servers that do not answer.
    """

    mode: Literal["list", "open", "none"] = "list"
    list: RegionList = RegionList()
    delegate: ServerNameText | None = None
    notaries: tuple[ServerNameText, ...] = ()


class Network(Record, frozen=True, kw_only=True):
    """How every outward request is made: federation, push, application services, previews, sign-in."""

    trusted_ca: Path | None = None
    verify_certificates: bool = True
    allow_private_addresses: bool = False


class Rooms(Record, frozen=True, kw_only=True):
    """What a room is by default."""

    default_version: str = "12"


class Limits(Record, frozen=True, kw_only=True):
    """What one person or address may take of the server; `rates` switches the rate limits as a whole."""

    rates: bool = True
    upload_bytes: Annotated[int, Meta(ge=0, le=1 << 40)] = 104857600


Days: TypeAlias = Annotated[float, Meta(gt=0, le=36500)]


class Retention(Record, frozen=True, kw_only=True):
    """How long messages are kept, in days; nothing is removed unless it is `enabled`.

    A room says so by itself (`m.room.retention`), within `shortest_days` and `longest_days`; `default_days` holds where
    it does not, `kinds` before that for the rooms of schools.
    """

    enabled: bool = False
    default_days: Days | None = None
    shortest_days: Days | None = None
    longest_days: Days | None = None
    kinds: dict[Literal["channel", "staff", "pupils", "parents", "help", "direct", "direct_pupil"], Days] = {}
    every_minutes: Annotated[float, Meta(gt=0, le=1440)] = 10.0


class Passwords(Record, frozen=True, kw_only=True):
    """The cost of a password hash (argon2id)."""

    time_cost: Annotated[int, Meta(ge=1, le=100)] = 3
    memory_kib: Annotated[int, Meta(ge=8, le=4194304)] = 65536


class DelayedEvents(Record, frozen=True, kw_only=True):
    """How long an event may wait to be sent, and how many of one person may wait at once; with 0 none may."""

    max_delay_ms: Annotated[int, Meta(ge=1, le=10 * 365 * 86400000)] = 86400000
    max_scheduled: Annotated[int, Meta(ge=0, le=10000)] = 100


class Turn(Record, frozen=True, kw_only=True):
    """The TURN servers of calls: who is given access to them by the `shared_secret`, or by one fixed login."""

    uris: tuple[Annotated[str, Meta(pattern="^turns?:.+")], ...] = ()
    shared_secret: Annotated[str, Meta(min_length=1)] | None = None
    user_lifetime_ms: Annotated[int, Meta(ge=60000, le=30 * 86400000)] = 3600000
    username: Annotated[str, Meta(min_length=1)] | None = None
    password: Annotated[str, Meta(min_length=1)] | None = None


class Previews(Record, frozen=True, kw_only=True):
    """Of which pages of the web there are previews, once `media.url_previews` turns them on.

    `hosts` are names or patterns (``*.example.org``); None means every host under policy: open, and none under policy:
    school. A preview is remembered for so many minutes, and kept with its image for so many days. `languages` are
    asked for, the first before the others.
    """

    hosts: tuple[Annotated[str, Meta(pattern=r"^[^\s/:@]+$", max_length=255)], ...] | None = None
    languages: tuple[Annotated[str, Meta(pattern=r"^[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*$")], ...] = ("ru", "en")
    page_bytes: Annotated[int, Meta(ge=1024, le=1 << 26)] = 5242880
    image_bytes: Annotated[int, Meta(ge=1024, le=1 << 26)] = 10485760
    fresh_minutes: Annotated[int, Meta(ge=1, le=525600)] = 60
    keep_days: Annotated[int, Meta(ge=1, le=3650)] = 3


class MediaRetention(Record, frozen=True, kw_only=True):
    """After how many days files go that nobody has got; None keeps them. Pictures of people and rooms stay, and what
    an event shows, unless the last two say otherwise; copies from other servers are had again when they are wanted.
    """

    local_days: Annotated[int, Meta(ge=1, le=36500)] | None = None
    remote_days: Annotated[int, Meta(ge=1, le=36500)] | None = None
    keep_pictures: bool = True
    keep_shown: bool = True


class Media(Record, frozen=True, kw_only=True):
    """Where files lie (relative to the data directory), which ways to them are open, and how long they stay."""

    path: Path = Path("media")
    url_previews: bool = False
    legacy_paths: bool = False
    previews: Previews = Previews()
    retention: MediaRetention = MediaRetention()


class Contact(Record, frozen=True, kw_only=True):
    """Somebody who answers for the server: a Matrix user or an e-mail address at least.

    `role` is ``m.role.admin``, ``m.role.security``, or a name of one's own in reverse domain notation.
    """

    role: Annotated[str, Meta(min_length=1)] = "m.role.admin"
    matrix_id: Annotated[str, Meta(pattern="^@[^:]*:.+")] | None = None
    email_address: Annotated[str, Meta(pattern="^[^@]+@[^@]+$")] | None = None


class Support(Record, frozen=True, kw_only=True):
    """Whom to ask about the server; announced in /.well-known/matrix/support when anything is given."""

    contacts: tuple[Contact, ...] = ()
    page: BaseURL | None = None


class ServerNotices(Record, frozen=True, kw_only=True):
    """In whose name the server gives its people notices: an account of the server's own, None for no notices at all."""

    localpart: Annotated[str, Meta(pattern="^[a-z0-9.=/+-][a-z0-9._=/+-]*$", max_length=100)] | None = None
    display_name: Annotated[str, Meta(min_length=1, max_length=255)] = "Server notices"
    room_name: Annotated[str, Meta(min_length=1, max_length=255)] = "Server notices"


class Log(Record, frozen=True, kw_only=True):
    """How loud the log is, and whether a person or a machine reads it."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class ApplicationService(Record, frozen=True, kw_only=True):
    """The registration file of an application service, and the rooms it is limited to: their IDs.

    Without `rooms` it is limited to none under ``policy: open``, and let into none at all under ``policy: school``.
    """

    registration: Path
    rooms: tuple[Annotated[str, Meta(pattern="^!.+")], ...] | None = None


class Settings(Record, frozen=True, kw_only=True):
    """The whole configuration of one region."""

    server_name: ServerNameText
    data_dir: Path = Path("data")
    policy: Literal["school", "open"] = "school"
    listeners: tuple[Listener, ...] = (Listener(port=8008),)
    public_base_url: BaseURL | None = None
    database: SQLite | PostgreSQL = field(default_factory=SQLite)
    registration: Registration = Registration()
    federation: Federation = Federation()
    network: Network = Network()
    rooms: Rooms = Rooms()
    limits: Limits = Limits()
    passwords: Passwords = Passwords()
    retention: Retention = Retention()
    application_services: tuple[ApplicationService, ...] = ()
    identity_server: BaseURL | None = None
    media: Media = Media()
    presence: bool = True
    delayed_events: DelayedEvents = DelayedEvents()
    login_via_existing_session: bool = False
    turn: Turn = Turn()
    rtc_transports: tuple[dict[str, Any], ...] = ()
    support: Support = Support()
    server_notices: ServerNotices = ServerNotices()
    log: Log = Log()
