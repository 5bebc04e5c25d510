-- What people have read, and what they want to be notified of. position: of the one sequence of everything a sync can
-- show.

-- thread_id: '' for a receipt without thread. event_stream: the event's own position, NULL while it is not known here.
CREATE TABLE receipts (
    room_nid BIGINT NOT NULL,
    user_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    thread_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    event_stream BIGINT,
    position BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (room_nid, user_id, kind, thread_id)
);
CREATE INDEX receipts_by_position ON receipts (room_nid, position);
CREATE INDEX receipts_by_user ON receipts (user_id, position);

-- edits: what a person changed of the default push rules, JSON.
CREATE TABLE push_rules (
    user_id TEXT PRIMARY KEY,
    position BIGINT NOT NULL,
    edits BYTEA NOT NULL
);
