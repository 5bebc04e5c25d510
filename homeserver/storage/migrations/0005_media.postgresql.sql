-- Files that this server has, and the events that refer to them.
CREATE TABLE media (
    origin TEXT NOT NULL,
    media_id TEXT NOT NULL,
    uploader TEXT,
    created_ms BIGINT NOT NULL,
    content_type TEXT NOT NULL,
    filename TEXT,
    size BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (origin, media_id)
);
CREATE INDEX media_by_uploader ON media (uploader, created_ms);

CREATE TABLE media_references (
    origin TEXT NOT NULL,
    media_id TEXT NOT NULL,
    room_nid BIGINT NOT NULL,
    event_nid BIGINT NOT NULL,
    PRIMARY KEY (origin, media_id, event_nid)
);
CREATE INDEX media_references_by_event ON media_references (event_nid);
