-- A text's place in the order in which texts are found. place: stream * 2^20, and beside it what else has that stream
-- position: edits, whose place is that of the event they are about, and what is older than all positions of this server.
-- The index is made anew, by the passes that take in what was there before it.
DROP TABLE search_texts;
CREATE TABLE search_texts (
    place BIGINT PRIMARY KEY,
    nid BIGINT NOT NULL UNIQUE,
    about_nid BIGINT NOT NULL,
    room_nid BIGINT NOT NULL,
    stream BIGINT NOT NULL,
    kind SMALLINT NOT NULL,
    stems TSVECTOR NOT NULL
);
CREATE INDEX search_texts_of_edits ON search_texts (about_nid) WHERE nid <> about_nid;
CREATE INDEX search_texts_by_stems ON search_texts USING gin (stems);
CREATE INDEX search_texts_by_place ON search_texts (room_nid, place);

UPDATE search_progress SET newest = (SELECT position FROM stream_position),
    oldest = (SELECT position + 1 FROM stream_position);
INSERT INTO search_waiting (nid)
    SELECT nid FROM events WHERE stream <= 0 AND type IN ('m.room.message', 'm.room.name', 'm.room.topic')
    ON CONFLICT DO NOTHING;
