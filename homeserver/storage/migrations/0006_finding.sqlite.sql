-- What rooms and people are found by.

-- Events by when they say they were sent.
CREATE INDEX events_by_time ON events (room_nid, origin_server_ts, depth, stream) WHERE stream IS NOT NULL;
