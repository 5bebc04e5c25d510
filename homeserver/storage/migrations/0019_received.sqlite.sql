-- Where a room's history here ends: events of it, and for each the events before it that are not known here.
CREATE TABLE gaps (
    room_nid INTEGER NOT NULL,
    missing_id TEXT NOT NULL,
    event_nid INTEGER NOT NULL,
    PRIMARY KEY (room_nid, missing_id, event_nid)
) WITHOUT ROWID;
CREATE INDEX gaps_by_event ON gaps (event_nid);
