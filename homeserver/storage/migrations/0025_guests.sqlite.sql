-- Whom hosts of rooms of cooperations have sent away.

-- The organisation hosts the rooms; the person comes into none of them until it lets them in again.
CREATE TABLE dismissed_guests (
    org_id TEXT NOT NULL REFERENCES organisations (org_id),
    user_id TEXT NOT NULL,
    dismissed_by TEXT NOT NULL,
    dismissed_ms INTEGER NOT NULL,
    PRIMARY KEY (org_id, user_id)
) WITHOUT ROWID;

-- Rooms by the organisation that hosts or knows them.
CREATE INDEX cooperation_rooms_by_organisation ON cooperation_rooms (org_id, room_id) WHERE closed_ms IS NULL;
