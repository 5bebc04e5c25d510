-- The user directory: what people are found by, and where.

-- The words of a person's display name and localpart, folded. Only of those who can be found.
CREATE TABLE name_words (
    user_id TEXT NOT NULL,
    word TEXT NOT NULL,
    PRIMARY KEY (user_id, word)
) WITHOUT ROWID;
CREATE INDEX name_words_by_word ON name_words (word, user_id);

-- Rooms that anybody may join (why: join) or look into (read): who is in one may be found by all.
CREATE TABLE open_rooms (
    room_nid INTEGER NOT NULL,
    why TEXT NOT NULL,
    is_open INTEGER NOT NULL,
    PRIMARY KEY (room_nid, why)
) WITHOUT ROWID;

-- Who is here already is found by their localpart, until they change their profile.
INSERT INTO name_words (user_id, word)
    SELECT user_id, lower(substr(user_id, 2, instr(user_id, ':') - 2)) FROM users
    WHERE kind IN ('user', 'appservice') AND deactivated_ms IS NULL;
