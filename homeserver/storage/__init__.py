"""What the region keeps: one database, and plain functions that read and write its tables.

`database` is the engine (SQLite or PostgreSQL behind one `Database`), `migrations` the tables' definitions, `changes`
what a commit tells, `sequences` where ids that are given from memory go on after a start. Every other module is named
after the things whose tables it owns, and nothing outside this package holds SQL.

What does not live here: decisions. A function here is given what to write by rooms, accounts, schools and so on.

To add a table:

1. Write `migrations/NNNN_name.sqlite.sql` and `migrations/NNNN_name.postgresql.sql` with the next number. Flags are
   SMALLINT 0 or 1, times BIGINT milliseconds, ids and counts BIGINT, encoded JSON BLOB or BYTEA. Once released, a file
   never changes again: its checksum is compared at each start.
2. Write its functions in the module of its domain, `txn` first: `find_x(txn, ...)`, `append_x(txn, ...)`. SQL is
   written once, with `?` for parameters, in the grammar that both databases share (ON CONFLICT and RETURNING among it).
3. Rows that are only added go through `txn.append(INSERT, row)`, INSERT being a constant of the module: the rows of a
   whole commit then go out together. Rows that take ids from memory name their sequence in `sequences`.
4. Test it with `tests.kit.databases.on_both_databases`.

    APPEND_NOTE = Insert("INSERT INTO notes (nid, author, text) VALUES (?, ?, ?)")

    def append_note(txn: Txn, nid: int, author: UserID, text: str) -> None:
        txn.append(APPEND_NOTE, (nid, author, text))

    await database.write(append_note, database.next_id("notes"), author, text)
"""
