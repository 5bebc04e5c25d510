-- Other servers: their keys, how they do, and the list of those that this one talks with.

-- The newest keys that a server published. raw: its answer, canonical JSON with all signatures.
CREATE TABLE server_keys (
    server_name TEXT NOT NULL PRIMARY KEY,
    received_ms INTEGER NOT NULL,
    valid_until_ms INTEGER NOT NULL,
    raw BLOB NOT NULL
) WITHOUT ROWID;

-- Servers that could not be reached when last tried. failures: in a row. retry_ms: until when they are left alone.
CREATE TABLE destinations (
    server_name TEXT NOT NULL PRIMARY KEY,
    failures INTEGER NOT NULL,
    retry_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- The signed list of regions that was accepted last; at most one row. anchor: the authority's keys that were configured
-- then, canonical JSON. raw: the list as it came.
CREATE TABLE region_lists (
    version INTEGER NOT NULL,
    anchor BLOB NOT NULL,
    raw BLOB NOT NULL
);
