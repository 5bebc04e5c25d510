-- Files that are kept from being seen, how long files are kept, and what pages of the web were found to say.

-- used_ms: about when somebody last got it. quarantined_by: who keeps it from everybody. protected: 1 where no quarantine
-- takes it. preview_of: the page whose preview shows it.
ALTER TABLE media ADD COLUMN used_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE media ADD COLUMN preview_of TEXT;
ALTER TABLE media ADD COLUMN quarantined_by TEXT;
ALTER TABLE media ADD COLUMN protected INTEGER NOT NULL DEFAULT 0;
UPDATE media SET used_ms = created_ms;
CREATE INDEX media_by_use ON media (used_ms, origin, media_id);
CREATE INDEX media_by_content ON media (sha256);
CREATE INDEX media_by_file ON media (file_id);
CREATE INDEX media_of_previews ON media (created_ms) WHERE preview_of IS NOT NULL;

-- Content that is in quarantine, whoever brings it again.
CREATE TABLE media_quarantine (
    sha256 TEXT PRIMARY KEY,
    done_by TEXT NOT NULL,
    at_ms BIGINT NOT NULL
);

-- What a page said when it was asked. answer: JSON. fresh_ms: until when nobody asks it again.
CREATE TABLE media_previews (
    url TEXT NOT NULL,
    fetched_ms BIGINT NOT NULL,
    fresh_ms BIGINT NOT NULL,
    answer BYTEA NOT NULL,
    PRIMARY KEY (url, fetched_ms)
);
CREATE INDEX media_previews_by_time ON media_previews (fetched_ms);

-- How far the daily rounds through the files have come, and when each was last at its end.
CREATE TABLE media_rounds (
    task TEXT PRIMARY KEY,
    place TEXT NOT NULL,
    done_ms BIGINT NOT NULL
);
