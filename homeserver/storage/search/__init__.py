"""What messages, names and topics of rooms are found by: the index of their words.

An event's text is kept as the stems of its words, each marked with its room, so that a look into the index touches the
asker's rooms and no others. On SQLite the index is an FTS5 table over stems of snowballstemmer, on PostgreSQL a GIN
index over a tsvector whose stems are those of the dictionaries `russian_stem` and `english_stem`. е and ё are one.

Nothing is indexed when it is sent. The index follows the stream of events by bounded batches (`index`), and whoever
searches lets it catch up first. How far it has come is committed with what it holds, so a kill costs nothing; what was
there before there was an index is indexed by the same passes. What is redacted leaves it in the redaction's own unit of
work. An edit's text is indexed as one of the texts of the message that it edits; which of those counts is judged where
the index is asked (`homeserver.rooms.search`), for not everybody may see every edit.

`words` are the words of a text, `stems` what they stem from, `index` fills and empties the index, `matches` asks it.
"""
