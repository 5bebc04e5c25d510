-- What messages, names and topics of rooms are found by.

-- A row for each text that is in the index. nid: the event whose text it is; about_nid: the event that is found by it,
-- which is another one for an edit; stream: the place of that one. kind: 0 a message, 1 a room's name, 2 its topic.
-- stems: what the words stem from, each as <room_nid>_<stem>.
CREATE TABLE search_texts (
    nid BIGINT PRIMARY KEY,
    about_nid BIGINT NOT NULL,
    room_nid BIGINT NOT NULL,
    stream BIGINT NOT NULL,
    kind SMALLINT NOT NULL,
    stems TSVECTOR NOT NULL
);
CREATE INDEX search_texts_of_edits ON search_texts (about_nid) WHERE nid <> about_nid;
CREATE INDEX search_texts_by_stems ON search_texts USING gin (stems);

-- Events that came to an older place of their room than the last, and wait for the index.
CREATE TABLE search_waiting (
    nid BIGINT PRIMARY KEY
);

-- How far the index has come. All there is to be found from oldest to newest, positions of the stream, is in it.
-- renewed: up to which user the words in name_words were renewed after this migration; NULL: all.
CREATE TABLE search_progress (
    only_row SMALLINT PRIMARY KEY CHECK (only_row = 1),
    newest BIGINT NOT NULL,
    oldest BIGINT NOT NULL,
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
    SELECT c.room_nid, c.type, replace(convert_from(e.json, 'UTF8'), '\u0000', '\ufffd')::json -> 'content' AS content
    FROM state_changes c JOIN events e ON e.nid = c.event_nid
    WHERE c.type IN ('m.room.join_rules', 'm.room.history_visibility') AND c.state_key = '' AND c.stream = (
        SELECT MAX(stream) FROM state_changes n WHERE n.room_nid = c.room_nid AND n.type = c.type AND n.state_key = ''
    )
) AS present
WHERE CASE type
    WHEN 'm.room.join_rules' THEN content ->> 'join_rule' = 'public'
    ELSE content ->> 'history_visibility' = 'world_readable'
END
ON CONFLICT DO NOTHING;
