-- People of other servers, as far as ours encrypt to them, and what their servers send to our devices.

-- Whose devices are kept here. stream_id: the last change that their server told. since: the position at which the list
-- was asked for; it holds for who has shared a room with one of ours ever since. stale: 1 when changes were missed.
CREATE TABLE remote_people (
    user_id TEXT PRIMARY KEY,
    stream_id INTEGER NOT NULL,
    since INTEGER NOT NULL,
    stale INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX remote_people_stale ON remote_people (user_id) WHERE stale = 1;

-- keys: the signed object, canonical JSON.
CREATE TABLE remote_devices (
    user_id TEXT NOT NULL REFERENCES remote_people (user_id) ON DELETE CASCADE,
    device_id TEXT NOT NULL,
    keys BLOB NOT NULL,
    PRIMARY KEY (user_id, device_id)
) WITHOUT ROWID;

-- Messages for our devices that other servers have sent, so that none is taken twice. number: counts those of a server.
CREATE TABLE received_messages (
    origin TEXT NOT NULL,
    message_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (origin, message_id)
) WITHOUT ROWID;
CREATE INDEX received_messages_by_number ON received_messages (origin, number);
