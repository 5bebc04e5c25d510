-- What messages, names and topics of rooms are found by.

-- A row for each text that is in the index. nid: the event whose text it is; about_nid: the event that is found by it,
-- which is another one for an edit; stream: the place of that one. kind: 0 a message, 1 a room's name, 2 its topic.
-- stems: what the words stem from, each as <room_nid>_<stem>.
CREATE TABLE search_texts (
    nid INTEGER PRIMARY KEY,
    about_nid INTEGER NOT NULL,
    room_nid INTEGER NOT NULL,
    stream INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    stems TEXT NOT NULL
);
CREATE INDEX search_texts_of_edits ON search_texts (about_nid) WHERE nid <> about_nid;

-- rowid: the nid of search_texts. Whatever puts a text there or takes it away does the same here.
CREATE VIRTUAL TABLE search_fts USING fts5 (
    stems, content = '', columnsize = 0, detail = none, tokenize = "ascii tokenchars '_'"
);
CREATE TRIGGER search_texts_come AFTER INSERT ON search_texts BEGIN
    INSERT INTO search_fts (rowid, stems) VALUES (NEW.nid, NEW.stems);
END;
CREATE TRIGGER search_texts_go AFTER DELETE ON search_texts BEGIN
    INSERT INTO search_fts (search_fts, rowid, stems) VALUES ('delete', OLD.nid, OLD.stems);
END;

-- Events that came to an older place of their room than the last, and wait for the index.
CREATE TABLE search_waiting (
    nid INTEGER PRIMARY KEY
);

-- How far the index has come. All there is to be found from oldest to newest, positions of the stream, is in it.
-- renewed: up to which user the words in name_words were renewed after this migration; NULL: all.
CREATE TABLE search_progress (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    newest INTEGER NOT NULL,
    oldest INTEGER NOT NULL,
    renewed TEXT
);
INSERT INTO search_progress (only_row, newest, oldest, renewed)
    SELECT 1, position, position + 1, '' FROM stream_position;
CREATE INDEX events_to_find ON events (stream)
    WHERE stream IS NOT NULL AND type IN ('m.room.message', 'm.room.name', 'm.room.topic');

-- Rooms that were open before there was a table of them.
INSERT INTO open_rooms (room_nid, why, is_open)
SELECT room_nid, CASE type WHEN 'm.room.join_rules' THEN 'join' ELSE 'read' END, 1
FROM (
    SELECT c.room_nid, c.type, replace(CAST(e.json AS TEXT), '\u0000', '\ufffd') AS whole
    FROM state_changes c JOIN events e ON e.nid = c.event_nid
    WHERE c.type IN ('m.room.join_rules', 'm.room.history_visibility') AND c.state_key = '' AND c.stream = (
        SELECT MAX(stream) FROM state_changes n WHERE n.room_nid = c.room_nid AND n.type = c.type AND n.state_key = ''
    )
) AS present
WHERE CASE type
    WHEN 'm.room.join_rules' THEN json_extract(whole, '$.content.join_rule') = 'public'
    ELSE json_extract(whole, '$.content.history_visibility') = 'world_readable'
END
ON CONFLICT DO NOTHING;
