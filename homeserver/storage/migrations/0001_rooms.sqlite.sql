-- Rooms, their events and state. Whole numbers named nid are interned ids, given from memory and never reused;
-- stream is the one sequence of everything a sync can show. The single writer upholds the references between tables.

-- What never changes of a room. Its present (extremities, depth, state) is that of its last event in the stream,
-- unless forks says otherwise.
CREATE TABLE rooms (
    nid INTEGER PRIMARY KEY,
    room_id TEXT NOT NULL UNIQUE,
    version TEXT NOT NULL,
    creator TEXT NOT NULL,
    kind TEXT
);

-- stream: NULL outside the timeline (outliers, rejected, soft-failed), negative when backfilled.
-- group_nid: the state after the event. membership: of an m.room.member event. device_id, txn_id: of a local send.
-- standing: 0 accepted, 1 soft-failed, 2 rejected, 3 outlier.
CREATE TABLE events (
    nid INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL UNIQUE,
    room_nid INTEGER NOT NULL,
    stream INTEGER,
    depth INTEGER NOT NULL,
    type TEXT NOT NULL,
    state_key TEXT,
    sender TEXT NOT NULL,
    membership TEXT,
    origin_server_ts INTEGER NOT NULL,
    group_nid INTEGER,
    replaces_nid INTEGER,
    redacts TEXT,
    redacted_by INTEGER,
    device_id TEXT,
    txn_id TEXT,
    standing INTEGER NOT NULL DEFAULT 0,
    json BLOB NOT NULL
);
CREATE INDEX events_by_depth ON events (room_nid, depth, stream) WHERE stream IS NOT NULL;
CREATE INDEX events_by_stream ON events (room_nid, stream) WHERE stream IS NOT NULL;
CREATE INDEX events_of_state ON events (room_nid, type, state_key) WHERE state_key IS NOT NULL;
CREATE INDEX events_by_transaction ON events (sender, device_id, nid) WHERE txn_id IS NOT NULL;
CREATE INDEX events_by_target ON events (redacts) WHERE redacts IS NOT NULL;

-- The present of a room whose last event is not its only extremity.
CREATE TABLE forks (
    room_nid INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL,
    group_nid INTEGER NOT NULL,
    depth INTEGER NOT NULL,
    extremities TEXT NOT NULL
);

-- event_nids: packed little-endian int64. With base_nid NULL the whole state, else what differs from that whole state.
CREATE TABLE state_groups (
    nid INTEGER PRIMARY KEY,
    room_nid INTEGER NOT NULL,
    base_nid INTEGER,
    event_nids BLOB NOT NULL
);

-- Every change of a room's current state; event_nid NULL when a key left it.
CREATE TABLE state_changes (
    room_nid INTEGER NOT NULL,
    stream INTEGER NOT NULL,
    type TEXT NOT NULL,
    state_key TEXT NOT NULL,
    event_nid INTEGER,
    PRIMARY KEY (room_nid, stream, type, state_key)
) WITHOUT ROWID;
CREATE INDEX state_changes_by_key ON state_changes (room_nid, type, state_key, stream);

-- The current membership of everybody, and what each of our own people's was before.
CREATE TABLE memberships (
    user_id TEXT NOT NULL,
    room_nid INTEGER NOT NULL,
    membership TEXT NOT NULL,
    event_nid INTEGER NOT NULL,
    stream INTEGER NOT NULL,
    forgotten INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (user_id, room_nid)
) WITHOUT ROWID;
CREATE INDEX memberships_by_room ON memberships (room_nid, membership);
CREATE TABLE membership_changes (
    user_id TEXT NOT NULL,
    stream INTEGER NOT NULL,
    room_nid INTEGER NOT NULL,
    membership TEXT NOT NULL,
    event_nid INTEGER NOT NULL,
    PRIMARY KEY (user_id, stream)
) WITHOUT ROWID;

CREATE TABLE aliases (
    alias TEXT PRIMARY KEY,
    room_nid INTEGER NOT NULL,
    creator TEXT NOT NULL,
    created_ms INTEGER NOT NULL
);
CREATE INDEX aliases_by_room ON aliases (room_nid);

-- The room directory. words: name, topic and alias, case-folded; summary: the entry as clients get it, JSON.
CREATE TABLE published (
    room_nid INTEGER PRIMARY KEY,
    members INTEGER NOT NULL,
    words TEXT NOT NULL,
    room_type TEXT,
    summary BLOB NOT NULL
);
CREATE INDEX published_by_members ON published (members, room_nid);
