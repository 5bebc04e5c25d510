-- The user directory: what people are found by, and where.

-- The words of a person's display name and localpart, folded. Only of those who can be found.
CREATE TABLE name_words (
    user_id TEXT NOT NULL,
    word TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (user_id, word)
);
CREATE INDEX name_words_by_word ON name_words (word, user_id);

-- Rooms that anybody may join (why: join) or look into (read): who is in one may be found by all.
CREATE TABLE open_rooms (
    room_nid BIGINT NOT NULL,
    why TEXT NOT NULL,
    is_open SMALLINT NOT NULL,
    PRIMARY KEY (room_nid, why)
);

-- Who is here already is found by their localpart, until they change their profile.
INSERT INTO name_words (user_id, word)
    SELECT user_id, lower(split_part(substr(user_id, 2), ':', 1)) FROM users
    WHERE kind IN ('user', 'appservice') AND deactivated_ms IS NULL;
