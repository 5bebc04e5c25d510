-- Relations between the events of a room, and what was related before there was this table.

-- A row for each event of a timeline that relates to another, until it is redacted. parent_id: the event it relates to,
-- known here or not. annotation: the key of an m.annotation. sound: whether its content is such as its rel_type demands.
-- group_nid: the state after it. depth, stream: its place in the room.
CREATE TABLE relations (
    event_nid INTEGER PRIMARY KEY,
    room_nid INTEGER NOT NULL,
    parent_id TEXT NOT NULL,
    rel_type TEXT NOT NULL,
    type TEXT NOT NULL,
    sender TEXT NOT NULL,
    annotation TEXT,
    sound INTEGER NOT NULL,
    group_nid INTEGER NOT NULL,
    depth INTEGER NOT NULL,
    stream INTEGER NOT NULL
);
CREATE INDEX relations_by_parent ON relations (room_nid, parent_id, rel_type, depth, stream);
CREATE INDEX relations_by_sender
    ON relations (room_nid, parent_id, rel_type, sender, group_nid, depth, stream, sound);
CREATE INDEX relations_in_threads ON relations (room_nid, depth, stream) WHERE rel_type = 'm.thread';

-- U+0000 is what no text holds.
INSERT INTO relations (event_nid, room_nid, parent_id, rel_type, type, sender, annotation, sound, group_nid, depth, stream)
SELECT nid, room_nid, json_extract(relation, '$.event_id'), json_extract(relation, '$.rel_type'), type, sender,
    CASE WHEN json_type(relation, '$.key') = 'text' THEN json_extract(relation, '$.key') END,
    CASE json_extract(relation, '$.rel_type')
        WHEN 'm.replace' THEN state_key IS NULL AND (type = 'm.room.encrypted' OR renewed = 'object')
        WHEN 'm.annotation' THEN COALESCE(json_type(relation, '$.key'), '') = 'text'
        WHEN 'm.thread' THEN state_key IS NULL
        ELSE 1
    END,
    group_nid, depth, stream
FROM (
    SELECT nid, room_nid, type, state_key, sender, group_nid, depth, stream,
        json_extract(whole, '$.content."m.relates_to"') AS relation,
        COALESCE(json_type(whole, '$.content."m.new_content"'), '') AS renewed
    FROM (
        SELECT nid, room_nid, type, state_key, sender, group_nid, depth, stream,
            replace(CAST(json AS TEXT), '\u0000', '\ufffd') AS whole
        FROM events
        WHERE stream IS NOT NULL AND instr(json, CAST('"m.relates_to"' AS BLOB)) > 0
    ) AS written
    WHERE json_type(whole, '$.content."m.relates_to"') = 'object'
) AS relating
WHERE json_type(relation, '$.event_id') = 'text' AND json_type(relation, '$.rel_type') = 'text'
    AND length(CAST(json_extract(relation, '$.event_id') AS BLOB)) BETWEEN 1 AND 255
    AND length(CAST(json_extract(relation, '$.rel_type') AS BLOB)) BETWEEN 1 AND 255;
