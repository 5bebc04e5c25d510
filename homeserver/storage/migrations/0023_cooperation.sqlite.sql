-- Organisations that cooperate, the rooms that they share, and what regions have vouched for.

-- One side's record; two organisations of this region that cooperate have one each. peer_...: the other organisation.
-- hosted 1: the rooms are ours. kind: the purpose, and the kind of the rooms. roles: comma between them. version: of our
-- side as the other is told it; told_version: what it has taken; peer_version: of its side, what we have taken.
CREATE TABLE cooperations (
    cooperation_id TEXT NOT NULL,
    org_id TEXT NOT NULL REFERENCES organisations (org_id),
    peer_server TEXT NOT NULL,
    peer_org_id TEXT NOT NULL,
    hosted INTEGER NOT NULL,
    kind TEXT NOT NULL,
    title TEXT NOT NULL,
    roles TEXT NOT NULL,
    until_ms INTEGER NOT NULL,
    began_ms INTEGER NOT NULL,
    agreed_by TEXT,
    agreed_ms INTEGER,
    ended_by TEXT,
    ended_ms INTEGER,
    peer_agreed INTEGER NOT NULL,
    peer_ended INTEGER NOT NULL,
    version INTEGER NOT NULL,
    told_version INTEGER NOT NULL,
    peer_version INTEGER NOT NULL,
    PRIMARY KEY (cooperation_id, org_id)
) WITHOUT ROWID;
CREATE INDEX cooperations_by_organisation ON cooperations (org_id, cooperation_id);
CREATE INDEX cooperations_untold ON cooperations (cooperation_id) WHERE told_version < version;

-- A room may be of several cooperations of its host; the other side has a row for its own.
CREATE TABLE cooperation_rooms (
    room_id TEXT NOT NULL,
    cooperation_id TEXT NOT NULL,
    org_id TEXT NOT NULL,
    name TEXT NOT NULL,
    opened_ms INTEGER NOT NULL,
    closed_ms INTEGER,
    PRIMARY KEY (room_id, cooperation_id, org_id)
) WITHOUT ROWID;
CREATE INDEX cooperation_rooms_by_cooperation ON cooperation_rooms (cooperation_id, org_id);

-- Pupils who take part in a cooperation, each by a guardian's consent on paper.
CREATE TABLE cooperating_pupils (
    cooperation_id TEXT NOT NULL,
    org_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    document_sha256 TEXT NOT NULL,
    accepted_by TEXT NOT NULL,
    accepted_ms INTEGER NOT NULL,
    PRIMARY KEY (cooperation_id, org_id, user_id)
) WITHOUT ROWID;

-- What we have vouched for and have not taken back yet; gone when it has run out.
CREATE TABLE claims_given (
    claim_id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL,
    cooperation_id TEXT NOT NULL,
    org_id TEXT NOT NULL,
    role TEXT NOT NULL,
    audience TEXT NOT NULL,
    valid_until_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX claims_given_by_person ON claims_given (user_id);

-- What other regions vouch for. raw: the claim as they signed it.
CREATE TABLE claims_held (
    user_id TEXT NOT NULL,
    cooperation_id TEXT NOT NULL,
    org_id TEXT NOT NULL,
    server TEXT NOT NULL,
    claim_id TEXT NOT NULL,
    role TEXT NOT NULL,
    valid_until_ms INTEGER NOT NULL,
    raw BLOB NOT NULL,
    PRIMARY KEY (user_id, cooperation_id, org_id)
) WITHOUT ROWID;
CREATE INDEX claims_held_by_end ON claims_held (valid_until_ms);
