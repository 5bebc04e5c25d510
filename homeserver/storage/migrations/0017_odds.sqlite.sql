-- Events that are to be sent later, and tokens that let a person in on another device.

-- event: type, state_key and content, JSON. since_ms: when it was scheduled or last restarted. due_ms: when it is to be
-- sent, NULL once it is finalised. device_id: '' for none. txn_id: of the request, NULL where that has none. error: of
-- one that was given up, JSON.
CREATE TABLE delayed_events (
    delay_id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (user_id),
    device_id TEXT NOT NULL,
    room_id TEXT NOT NULL,
    type TEXT NOT NULL,
    txn_id TEXT,
    event BLOB NOT NULL,
    delay_ms INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    due_ms INTEGER,
    finalised_ms INTEGER,
    event_id TEXT,
    error BLOB
) WITHOUT ROWID;
CREATE INDEX delayed_events_by_due ON delayed_events (due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX delayed_events_by_user ON delayed_events (user_id, due_ms);
CREATE INDEX delayed_events_by_end ON delayed_events (finalised_ms) WHERE finalised_ms IS NOT NULL;
CREATE UNIQUE INDEX delayed_events_by_transaction ON delayed_events (user_id, device_id, room_id, type, txn_id)
    WHERE txn_id IS NOT NULL;

-- token_hash: all that is kept of the token.
CREATE TABLE login_tokens (
    token_hash BLOB NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (user_id),
    expires_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX login_tokens_by_user ON login_tokens (user_id);
CREATE INDEX login_tokens_by_end ON login_tokens (expires_ms);
