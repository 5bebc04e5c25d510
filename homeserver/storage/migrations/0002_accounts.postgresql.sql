-- People, their sessions, devices and keys, and what they keep here. Whatever hangs on a device goes with it.
-- Tokens are stored as hashes only. position: of the one sequence of everything a sync can show.

-- kind: user, guest, appservice, server (the region's own). password_hash: argon2id in its own notation, NULL when
-- there is no login by password. A time in a column ending in _ms says that and since when.
CREATE TABLE users (
    user_id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    password_hash TEXT,
    admin SMALLINT NOT NULL DEFAULT 0,
    appservice_id TEXT,
    created_ms BIGINT NOT NULL,
    locked_ms BIGINT,
    suspended_ms BIGINT,
    deactivated_ms BIGINT,
    erased_ms BIGINT
);

-- What was committed for a person and has yet to reach their rooms. what: profile, departure.
CREATE TABLE propagations (
    user_id TEXT NOT NULL,
    what TEXT NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (user_id, what)
);

-- fields: the profile fields beyond the two, one JSON object.
CREATE TABLE profiles (
    user_id TEXT PRIMARY KEY,
    displayname TEXT,
    avatar_url TEXT,
    fields BYTEA
);
CREATE INDEX profiles_by_avatar ON profiles (avatar_url) WHERE avatar_url IS NOT NULL;

CREATE TABLE registration_tokens (
    token TEXT PRIMARY KEY,
    uses_allowed BIGINT,
    used BIGINT NOT NULL DEFAULT 0,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT
);

CREATE TABLE devices (
    user_id TEXT NOT NULL REFERENCES users (user_id),
    device_id TEXT NOT NULL,
    display_name TEXT,
    created_ms BIGINT NOT NULL,
    last_seen_ms BIGINT,
    last_seen_ip TEXT,
    PRIMARY KEY (user_id, device_id)
);

-- refresh_hash: of the refresh token it was given out with, NULL when the session cannot be refreshed.
CREATE TABLE access_tokens (
    token_hash BYTEA PRIMARY KEY,
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    refresh_hash BYTEA,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT,
    FOREIGN KEY (user_id, device_id) REFERENCES devices (user_id, device_id) ON DELETE CASCADE
);
CREATE INDEX access_tokens_by_device ON access_tokens (user_id, device_id);
CREATE INDEX access_tokens_by_refresh ON access_tokens (refresh_hash) WHERE refresh_hash IS NOT NULL;

-- replaces: the refresh token it was given out for, until it or its access token is used.
CREATE TABLE refresh_tokens (
    token_hash BYTEA PRIMARY KEY,
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    replaces BYTEA,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    FOREIGN KEY (user_id, device_id) REFERENCES devices (user_id, device_id) ON DELETE CASCADE
);
CREATE INDEX refresh_tokens_by_device ON refresh_tokens (user_id, device_id);
CREATE INDEX refresh_tokens_by_replaced ON refresh_tokens (replaces) WHERE replaces IS NOT NULL;

-- room_id: '' for what belongs to no room.
CREATE TABLE account_data (
    user_id TEXT NOT NULL,
    room_id TEXT NOT NULL,
    type TEXT NOT NULL,
    position BIGINT NOT NULL,
    content BYTEA NOT NULL,
    PRIMARY KEY (user_id, room_id, type)
);
CREATE INDEX account_data_by_position ON account_data (user_id, position);

-- digest: of the canonical definition; the same filter is stored once.
CREATE TABLE filters (
    user_id TEXT NOT NULL,
    filter_id BIGINT NOT NULL,
    digest BYTEA NOT NULL,
    definition BYTEA NOT NULL,
    PRIMARY KEY (user_id, filter_id),
    UNIQUE (user_id, digest)
);

CREATE TABLE to_device (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    position BIGINT NOT NULL,
    message BYTEA NOT NULL,
    PRIMARY KEY (user_id, device_id, position),
    FOREIGN KEY (user_id, device_id) REFERENCES devices (user_id, device_id) ON DELETE CASCADE
);

-- The requests a device has made under a transaction ID, other than to send events.
CREATE TABLE device_transactions (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    path TEXT NOT NULL,
    txn_id TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (user_id, device_id, path, txn_id),
    FOREIGN KEY (user_id, device_id) REFERENCES devices (user_id, device_id) ON DELETE CASCADE
);

-- keys: the signed object as uploaded, canonical JSON.
CREATE TABLE device_keys (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    keys BYTEA NOT NULL,
    PRIMARY KEY (user_id, device_id),
    FOREIGN KEY (user_id, device_id) REFERENCES devices (user_id, device_id) ON DELETE CASCADE
);

-- upload: counts the uploads of the device; older ones are given out first.
CREATE TABLE one_time_keys (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    key_id TEXT NOT NULL,
    upload BIGINT NOT NULL,
    key BYTEA NOT NULL,
    PRIMARY KEY (user_id, device_id, algorithm, key_id),
    FOREIGN KEY (user_id, device_id) REFERENCES devices (user_id, device_id) ON DELETE CASCADE
);
CREATE INDEX one_time_keys_by_age ON one_time_keys (user_id, device_id, algorithm, upload);

CREATE TABLE fallback_keys (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    key_id TEXT NOT NULL,
    key BYTEA NOT NULL,
    used SMALLINT NOT NULL DEFAULT 0,
    PRIMARY KEY (user_id, device_id, algorithm),
    FOREIGN KEY (user_id, device_id) REFERENCES devices (user_id, device_id) ON DELETE CASCADE
);

-- usage: master, self_signing, user_signing. public_key: the one in key, unpadded base64.
CREATE TABLE cross_signing_keys (
    user_id TEXT NOT NULL,
    usage TEXT NOT NULL,
    public_key TEXT NOT NULL,
    key BYTEA NOT NULL,
    PRIMARY KEY (user_id, usage)
);

-- What was signed (user_id's device, or cross-signing key by its public key) after it was uploaded, and by which key.
CREATE TABLE key_signatures (
    user_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    signer_id TEXT NOT NULL,
    signer_key_id TEXT NOT NULL,
    signature TEXT NOT NULL,
    PRIMARY KEY (user_id, key_id, signer_id, signer_key_id)
);
CREATE INDEX key_signatures_by_signer ON key_signatures (signer_id, signer_key_id);

-- When somebody's device or cross-signing keys last changed.
CREATE TABLE key_changes (
    user_id TEXT PRIMARY KEY,
    position BIGINT NOT NULL
);
CREATE INDEX key_changes_by_position ON key_changes (position);
