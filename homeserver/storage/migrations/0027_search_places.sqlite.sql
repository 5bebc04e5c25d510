-- A text's place in the order in which texts are found. place: stream * 2^20, and beside it what else has that stream
-- position: edits, whose place is that of the event they are about, and what is older than all positions of this server.
-- The index is made anew, by the passes that take in what was there before it.
DROP TABLE search_fts;
DROP TABLE search_texts;
CREATE TABLE search_texts (
    place INTEGER PRIMARY KEY,
    nid INTEGER NOT NULL UNIQUE,
    about_nid INTEGER NOT NULL,
    room_nid INTEGER NOT NULL,
    stream INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    stems TEXT NOT NULL
);
CREATE INDEX search_texts_of_edits ON search_texts (about_nid) WHERE nid <> about_nid;

-- rowid: the place of search_texts, so that the newest are found first. Whatever puts a text there or takes it away does
-- the same here.
CREATE VIRTUAL TABLE search_fts USING fts5 (
    stems, content = '', columnsize = 0, detail = none, tokenize = "ascii tokenchars '_'"
);
CREATE TRIGGER search_texts_come AFTER INSERT ON search_texts BEGIN
    INSERT INTO search_fts (rowid, stems) VALUES (NEW.place, NEW.stems);
END;
CREATE TRIGGER search_texts_go AFTER DELETE ON search_texts BEGIN
    INSERT INTO search_fts (search_fts, rowid, stems) VALUES ('delete', OLD.place, OLD.stems);
END;

UPDATE search_progress SET newest = (SELECT position FROM stream_position),
    oldest = (SELECT position + 1 FROM stream_position);
INSERT INTO search_waiting (nid)
    SELECT nid FROM events WHERE stream <= 0 AND type IN ('m.room.message', 'm.room.name', 'm.room.topic')
    ON CONFLICT DO NOTHING;
