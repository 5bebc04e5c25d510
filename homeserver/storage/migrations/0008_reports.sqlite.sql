-- What people report as inappropriate, for whoever answers for the server or the school to settle; and tokens by which
-- people prove to others who they are.

-- kind: event, room, user. user_id: whom it is about, where it is about somebody. settled_ms NULL: nobody has yet.
CREATE TABLE reports (
    nid INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    reporter TEXT NOT NULL,
    room_id TEXT,
    event_id TEXT,
    user_id TEXT,
    reason TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    settled_ms INTEGER
);
CREATE INDEX reports_waiting ON reports (nid) WHERE settled_ms IS NULL;

CREATE TABLE openid_tokens (
    token_hash BLOB PRIMARY KEY,
    user_id TEXT NOT NULL,
    expires_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX openid_tokens_by_user ON openid_tokens (user_id, expires_ms);
