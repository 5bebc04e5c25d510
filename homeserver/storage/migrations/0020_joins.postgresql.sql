-- What another server has shown of a room to somebody of ours who is asked into it, or knocks: stripped state, a JSON
-- array, by the membership event; it is an outlier. servers: those that may know the room, a JSON array, the best first.
CREATE TABLE invitations (
    event_nid BIGINT PRIMARY KEY,
    room_nid BIGINT NOT NULL,
    state BYTEA NOT NULL,
    servers BYTEA NOT NULL
);
CREATE INDEX invitations_by_room ON invitations (room_nid);
