-- Organisations, their classes and people, and which rooms belong to what. Ids of organisations, classes and roles are
-- random text. A time in a column ending in _ms is milliseconds since the epoch.

-- pupil_chats_from: from which grade on pupils of one class may write to each other, NULL for never.
CREATE TABLE organisations (
    org_id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    short_name TEXT NOT NULL,
    settlement TEXT NOT NULL,
    municipality TEXT NOT NULL,
    subject TEXT NOT NULL,
    inn TEXT,
    kpp TEXT,
    lowest_grade INTEGER NOT NULL,
    pupil_chats_from INTEGER,
    created_ms INTEGER NOT NULL,
    UNIQUE (inn, kpp)
) WITHOUT ROWID;

-- grade 0: a study group without grades, letter is then its whole name. year: in which the school year begins.
CREATE TABLE classes (
    class_id TEXT PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES organisations (org_id),
    grade INTEGER NOT NULL,
    letter TEXT NOT NULL,
    year INTEGER NOT NULL,
    closed_ms INTEGER,
    UNIQUE (org_id, year, grade, letter)
) WITHOUT ROWID;

-- org_id: the organisation that keeps the person's record. roster_key: how its journal knows the person.
CREATE TABLE people (
    user_id TEXT PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES organisations (org_id),
    family TEXT NOT NULL,
    given TEXT NOT NULL,
    patronymic TEXT NOT NULL,
    roster_key TEXT,
    created_ms INTEGER NOT NULL,
    UNIQUE (org_id, roster_key)
) WITHOUT ROWID;

-- class_id: '' where the role counts in all of the organisation. child_id: of a parent, else ''.
-- verified_ms NULL: nobody has verified it. source: office, roster. A role with ended_ms is history.
CREATE TABLE roles (
    role_id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES people (user_id),
    org_id TEXT NOT NULL REFERENCES organisations (org_id),
    role TEXT NOT NULL,
    class_id TEXT NOT NULL,
    child_id TEXT NOT NULL,
    source TEXT NOT NULL,
    began_ms INTEGER NOT NULL,
    verified_ms INTEGER,
    verified_by TEXT,
    verified_until_ms INTEGER,
    ended_ms INTEGER,
    ended_by TEXT
) WITHOUT ROWID;
CREATE UNIQUE INDEX roles_once ON roles (user_id, org_id, role, class_id, child_id) WHERE ended_ms IS NULL;
CREATE UNIQUE INDEX roles_one_class ON roles (user_id, org_id) WHERE ended_ms IS NULL AND role = 'pupil';
CREATE INDEX roles_by_organisation ON roles (org_id) WHERE ended_ms IS NULL;

-- By which document of the director somebody is administrator; no document serves twice.
CREATE TABLE appointments (
    document_sha256 TEXT PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES organisations (org_id),
    user_id TEXT NOT NULL REFERENCES people (user_id),
    signed_on TEXT NOT NULL,
    accepted_by TEXT NOT NULL,
    accepted_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- owner, peer: the people of a help or direct room, else ''. closed_ms: since when nobody belongs there.
CREATE TABLE school_rooms (
    room_id TEXT PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES organisations (org_id),
    class_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    owner TEXT NOT NULL,
    peer TEXT NOT NULL,
    supervisor TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    closed_ms INTEGER
) WITHOUT ROWID;
CREATE UNIQUE INDEX school_rooms_once ON school_rooms (org_id, class_id, kind, owner, peer) WHERE closed_ms IS NULL;

-- What was done, by whom, to whom; detail: a JSON object. Only ever added to.
CREATE TABLE school_audit (
    entry INTEGER PRIMARY KEY,
    org_id TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    done_by TEXT NOT NULL,
    deed TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail BLOB NOT NULL
);
CREATE INDEX school_audit_by_organisation ON school_audit (org_id, entry);
CREATE TRIGGER school_audit_is_never_changed BEFORE UPDATE ON school_audit
BEGIN
    SELECT RAISE(ABORT, 'the audit log is only ever added to');
END;
CREATE TRIGGER school_audit_is_never_shortened BEFORE DELETE ON school_audit
BEGIN
    SELECT RAISE(ABORT, 'the audit log is only ever added to');
END;
