-- Other servers: their keys, how they do, and the list of those that this one talks with.

-- The newest keys that a server published. raw: its answer, canonical JSON with all signatures.
CREATE TABLE server_keys (
    server_name TEXT NOT NULL PRIMARY KEY,
    received_ms BIGINT NOT NULL,
    valid_until_ms BIGINT NOT NULL,
    raw BYTEA NOT NULL
);

-- Servers that could not be reached when last tried. failures: in a row. retry_ms: until when they are left alone.
CREATE TABLE destinations (
    server_name TEXT NOT NULL PRIMARY KEY,
    failures BIGINT NOT NULL,
    retry_ms BIGINT NOT NULL
);

-- The signed list of regions that was accepted last; at most one row. anchor: the authority's keys that were configured
-- then, canonical JSON. raw: the list as it came.
CREATE TABLE region_lists (
    version BIGINT NOT NULL,
    anchor BYTEA NOT NULL,
    raw BYTEA NOT NULL
);
