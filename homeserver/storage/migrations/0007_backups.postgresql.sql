-- What a person leaves with the server for devices they do not have yet: message keys, and a device that sleeps.

-- version: counts a person's backups and is never given twice; deleted ones stay, without keys. etag: counts the changes
-- of its keys. auth_data: JSON.
CREATE TABLE key_backups (
    user_id TEXT NOT NULL REFERENCES users (user_id),
    version BIGINT NOT NULL,
    algorithm TEXT NOT NULL,
    auth_data BYTEA NOT NULL,
    keys BIGINT NOT NULL DEFAULT 0,
    etag BIGINT NOT NULL DEFAULT 0,
    deleted INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (user_id, version)
);

-- session_data: the encrypted key, JSON.
CREATE TABLE backed_up_keys (
    user_id TEXT NOT NULL,
    version BIGINT NOT NULL,
    session_id TEXT NOT NULL,
    room_id TEXT NOT NULL,
    is_verified INTEGER NOT NULL,
    first_message_index BIGINT NOT NULL,
    forwarded_count BIGINT NOT NULL,
    session_data BYTEA NOT NULL,
    PRIMARY KEY (user_id, version, session_id, room_id),
    FOREIGN KEY (user_id, version) REFERENCES key_backups (user_id, version)
);
CREATE INDEX backed_up_keys_by_room ON backed_up_keys (user_id, version, room_id);

-- Which device of a person sleeps. data: what wakes it, encrypted, JSON.
CREATE TABLE dehydrated_devices (
    user_id TEXT PRIMARY KEY,
    device_id TEXT NOT NULL,
    data BYTEA NOT NULL,
    FOREIGN KEY (user_id, device_id) REFERENCES devices (user_id, device_id) ON DELETE CASCADE
);
