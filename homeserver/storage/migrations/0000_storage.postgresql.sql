-- The engine's own row: the last stream position, and the number of commits so far, by which the writer learns what
-- became of a commit that it never heard the end of, and that nobody else writes beside it.
CREATE TABLE stream_position (
    only_row SMALLINT PRIMARY KEY CHECK (only_row = 1),
    position BIGINT NOT NULL,
    commits BIGINT NOT NULL
) WITH (fillfactor = 10);
INSERT INTO stream_position (only_row, position, commits) VALUES (1, 0, 0);
