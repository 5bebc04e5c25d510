-- What is told to other servers.

-- In which rooms other servers are. told: everything of ours up to that stream position is none of theirs, or was taken
-- by them. left_at: the last position that still concerns them, NULL while they are in the room.
CREATE TABLE room_servers (
    server_name TEXT NOT NULL,
    room_nid BIGINT NOT NULL,
    told BIGINT NOT NULL,
    left_at BIGINT,
    PRIMARY KEY (server_name, room_nid)
);
CREATE INDEX room_servers_by_room ON room_servers (room_nid);

-- How far other servers were told of events: position is a stream position up to which they have taken everything.
CREATE TABLE told_servers (
    server_name TEXT PRIMARY KEY,
    position BIGINT NOT NULL
);

-- Events of other servers that this one passes on, because they came into their room through it.
CREATE TABLE passed_on (
    room_nid BIGINT NOT NULL,
    event_nid BIGINT NOT NULL,
    PRIMARY KEY (room_nid, event_nid)
);

-- What is no event and waits until another server has taken it. topic: a newer one about it makes an older one
-- needless. edu: JSON.
CREATE TABLE waiting_edus (
    server_name TEXT NOT NULL,
    position BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    topic TEXT,
    edu BYTEA NOT NULL,
    PRIMARY KEY (server_name, position)
);
CREATE INDEX waiting_edus_by_topic ON waiting_edus (server_name, topic) WHERE topic IS NOT NULL;
