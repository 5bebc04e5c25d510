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
    file_id TEXT NOT NULL,  -- the name of its bytes on disk
    PRIMARY KEY (origin, media_id)
);
CREATE INDEX media_by_uploader ON media (uploader, created_ms);

-- Addresses given out before their files are uploaded.
CREATE TABLE media_pending (
    origin TEXT NOT NULL,
    media_id TEXT NOT NULL,
    uploader TEXT NOT NULL,
    expires_ms BIGINT NOT NULL,
    PRIMARY KEY (origin, media_id)
);
CREATE INDEX media_pending_by_uploader ON media_pending (uploader, expires_ms);

CREATE TABLE media_references (
    origin TEXT NOT NULL,
    media_id TEXT NOT NULL,
    room_nid BIGINT NOT NULL,
    event_nid BIGINT NOT NULL,
    PRIMARY KEY (origin, media_id, event_nid)
);
CREATE INDEX media_references_by_event ON media_references (event_nid);
