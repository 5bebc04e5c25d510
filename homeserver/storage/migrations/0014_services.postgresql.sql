-- Application services: what each is being told, and the rooms it lists as another network's.

-- The whole stream in its order, for whoever follows it from a position on.
CREATE INDEX events_in_order ON events (stream, room_nid) WHERE stream IS NOT NULL;

-- Which accounts are a service's.
CREATE INDEX users_by_service ON users (appservice_id) WHERE appservice_id IS NOT NULL;

-- How far a service was told. position: the stream position up to which events are in transactions; number: that of its
-- last transaction; body: that transaction, JSON, while the service has not taken it.
CREATE TABLE service_lines (
    service_id TEXT PRIMARY KEY,
    position BIGINT NOT NULL,
    number BIGINT NOT NULL,
    body BYTEA
);

-- What a service lists in the directory of one of its networks.
CREATE TABLE network_rooms (
    service_id TEXT NOT NULL,
    network_id TEXT NOT NULL,
    room_nid BIGINT NOT NULL,
    PRIMARY KEY (service_id, network_id, room_nid)
);

-- Requests to send to devices that a service's people made without a device of their own.
CREATE TABLE service_transactions (
    user_id TEXT NOT NULL,
    path TEXT NOT NULL,
    txn_id TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (user_id, path, txn_id),
    FOREIGN KEY (user_id) REFERENCES users (user_id)
);
