-- What is removed before its time: rooms and their history, what people leave behind, files that nothing shows any more.

-- A removal, running or done. kind: room, history. room_nid: the room's while rows of it may be left, so that no other
-- gets that id; NULL until it is taken apart, and afterwards. wanted, result: JSON. ended_ms NULL: it is not done.
CREATE TABLE purges (
    purge_id TEXT PRIMARY KEY,
    room_id TEXT NOT NULL,
    room_nid INTEGER,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    wanted BLOB NOT NULL,
    result BLOB NOT NULL,
    began_ms INTEGER NOT NULL,
    ended_ms INTEGER
) WITHOUT ROWID;
CREATE INDEX purges_running ON purges (began_ms) WHERE ended_ms IS NULL;
CREATE INDEX purges_by_room ON purges (room_id);

-- Rooms that nobody here may come into.
CREATE TABLE blocked_rooms (
    room_id TEXT PRIMARY KEY,
    blocked_by TEXT NOT NULL,
    blocked_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- Files whose records are gone, until their bytes are, too.
CREATE TABLE doomed_files (
    file_id TEXT PRIMARY KEY
) WITHOUT ROWID;

-- People who are being erased, or were. wanted: JSON. room_nid, stream: up to where their events are dealt with.
CREATE TABLE erasures (
    user_id TEXT PRIMARY KEY,
    wanted BLOB NOT NULL,
    stage TEXT NOT NULL,
    room_nid INTEGER NOT NULL DEFAULT 0,
    stream INTEGER NOT NULL DEFAULT 0,
    began_ms INTEGER NOT NULL,
    ended_ms INTEGER
) WITHOUT ROWID;

-- How the rows of a room are found.
CREATE INDEX events_outside_timelines ON events (room_nid) WHERE stream IS NULL;
CREATE INDEX state_groups_by_room ON state_groups (room_nid);
CREATE INDEX membership_changes_by_room ON membership_changes (room_nid);
CREATE INDEX media_references_by_room ON media_references (room_nid);
CREATE INDEX account_data_by_room ON account_data (room_id);

-- Before when messages of a room are shown no more, where its history is not kept for ever.
CREATE TABLE room_horizons (
    room_nid INTEGER PRIMARY KEY,
    before_ms INTEGER NOT NULL
);
