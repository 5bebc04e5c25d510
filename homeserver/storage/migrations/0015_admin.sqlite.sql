-- What operators of the server do, and keep. The audit log of the schools becomes that of everything.

-- org_id: '' for what concerns no organisation. request: the id of the request in the access log. outcome: done, refused.
ALTER TABLE school_audit RENAME TO audit;
ALTER TABLE audit ADD COLUMN outcome TEXT NOT NULL DEFAULT 'done';
ALTER TABLE audit ADD COLUMN request TEXT NOT NULL DEFAULT '';
CREATE INDEX audit_by_subject ON audit (subject, entry);
CREATE INDEX audit_by_doer ON audit (done_by, entry);

-- user_type: bot, support, or what an operator calls it; of no consequence.
ALTER TABLE users ADD COLUMN user_type TEXT;
CREATE INDEX users_by_creation ON users (created_ms, user_id);

-- How often people may ask, where it is not as for everybody. Nothing a second: they are not limited.
CREATE TABLE rate_overrides (
    user_id TEXT PRIMARY KEY,
    per_second INTEGER NOT NULL,
    burst INTEGER NOT NULL
) WITHOUT ROWID;

-- The room in which somebody gets the server's notices.
CREATE TABLE notice_rooms (
    user_id TEXT PRIMARY KEY,
    room_id TEXT NOT NULL UNIQUE
) WITHOUT ROWID;

-- What of a room's present state rooms are listed and sorted by.
CREATE TABLE room_overviews (
    room_nid INTEGER PRIMARY KEY,
    name TEXT,
    canonical_alias TEXT,
    encryption TEXT,
    federatable INTEGER NOT NULL,
    join_rules TEXT,
    guest_access TEXT,
    history_visibility TEXT,
    room_type TEXT
);
