-- Where people's notifications go, and how far they have gone there.

-- set_ms: when the client last set it. details: the rest of what the client said, JSON. last_told: the stream position
-- up to which everything was told, while something waits to be told; NULL while nothing does.
CREATE TABLE pushers (
    user_id TEXT NOT NULL,
    app_id TEXT NOT NULL,
    pushkey TEXT NOT NULL,
    device_id TEXT NOT NULL,
    set_ms BIGINT NOT NULL,
    details BYTEA NOT NULL,
    last_told BIGINT,
    PRIMARY KEY (user_id, app_id, pushkey),
    FOREIGN KEY (user_id, device_id) REFERENCES devices (user_id, device_id) ON DELETE CASCADE
);
CREATE INDEX pushers_by_device ON pushers (user_id, device_id);
CREATE INDEX pushers_by_key ON pushers (app_id, pushkey);

-- The stream position up to which everything was told, or is noted above as waiting; one row.
CREATE TABLE push_horizon (
    position BIGINT NOT NULL
);
INSERT INTO push_horizon (position) VALUES (0);
