-- Relations between the events of a room, and what was related before there was this table.

-- A row for each event of a timeline that relates to another, until it is redacted. parent_id: the event it relates to,
-- known here or not. annotation: the key of an m.annotation. sound: whether its content is such as its rel_type demands.
-- group_nid: the state after it. depth, stream: its place in the room.
CREATE TABLE relations (
    event_nid BIGINT PRIMARY KEY,
    room_nid BIGINT NOT NULL,
    parent_id TEXT NOT NULL,
    rel_type TEXT NOT NULL,
    type TEXT NOT NULL,
    sender TEXT NOT NULL,
    annotation TEXT,
    sound SMALLINT NOT NULL,
    group_nid BIGINT NOT NULL,
    depth BIGINT NOT NULL,
    stream BIGINT NOT NULL
);
CREATE INDEX relations_by_parent ON relations (room_nid, parent_id, rel_type, depth, stream);
CREATE INDEX relations_by_sender
    ON relations (room_nid, parent_id, rel_type, sender, group_nid, depth, stream, sound);
CREATE INDEX relations_in_threads ON relations (room_nid, depth, stream) WHERE rel_type = 'm.thread';

-- U+0000 is what no text holds.
INSERT INTO relations (event_nid, room_nid, parent_id, rel_type, type, sender, annotation, sound, group_nid, depth, stream)
SELECT nid, room_nid, relation ->> 'event_id', relation ->> 'rel_type', type, sender,
    CASE WHEN json_typeof(relation -> 'key') = 'string' THEN relation ->> 'key' END,
    CASE relation ->> 'rel_type'
        WHEN 'm.replace' THEN (state_key IS NULL AND (type = 'm.room.encrypted' OR renewed = 'object'))::int
        WHEN 'm.annotation' THEN (COALESCE(json_typeof(relation -> 'key'), '') = 'string')::int
        WHEN 'm.thread' THEN (state_key IS NULL)::int
        ELSE 1
    END,
    group_nid, depth, stream
FROM (
    SELECT nid, room_nid, type, state_key, sender, group_nid, depth, stream,
        content -> 'm.relates_to' AS relation,
        COALESCE(json_typeof(content -> 'm.new_content'), '') AS renewed
    FROM (
        SELECT nid, room_nid, type, state_key, sender, group_nid, depth, stream,
            replace(convert_from(json, 'UTF8'), '\u0000', '\ufffd')::json -> 'content' AS content
        FROM events
        WHERE stream IS NOT NULL AND position('"m.relates_to"'::bytea IN json) > 0
    ) AS written
) AS relating
WHERE json_typeof(relation) = 'object'
    AND json_typeof(relation -> 'event_id') = 'string' AND json_typeof(relation -> 'rel_type') = 'string'
    AND octet_length(relation ->> 'event_id') BETWEEN 1 AND 255
    AND octet_length(relation ->> 'rel_type') BETWEEN 1 AND 255;
