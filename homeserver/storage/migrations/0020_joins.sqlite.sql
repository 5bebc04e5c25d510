-- What another server has shown of a room to somebody of ours who is asked into it, or knocks: stripped state, a JSON
-- array, by the membership event; it is an outlier. servers: those that may know the room, a JSON array, the best first.
CREATE TABLE invitations (
    event_nid INTEGER PRIMARY KEY,
    room_nid INTEGER NOT NULL,
    state BLOB NOT NULL,
    servers BLOB NOT NULL
);
CREATE INDEX invitations_by_room ON invitations (room_nid);
