-- More of what other servers may leave here, and what they know of devices.

-- How many bytes each other server's messages take that wait for our devices, all of them together: each as long as it
-- is, and 1,024 beside that. The triggers see to it also where messages go with their device.
CREATE TABLE messages_of_servers (
    origin TEXT PRIMARY KEY,
    bytes BIGINT NOT NULL
);
INSERT INTO messages_of_servers (origin, bytes)
    SELECT origin, SUM(length(message) + 1024) FROM to_device WHERE origin IS NOT NULL GROUP BY origin;
CREATE FUNCTION count_message_of_server() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO messages_of_servers (origin, bytes) VALUES (NEW.origin, length(NEW.message) + 1024)
            ON CONFLICT (origin) DO UPDATE SET bytes = messages_of_servers.bytes + excluded.bytes;
    ELSE
        UPDATE messages_of_servers SET bytes = bytes - length(OLD.message) - 1024 WHERE origin = OLD.origin;
        DELETE FROM messages_of_servers WHERE origin = OLD.origin AND bytes <= 0;
    END IF;
    RETURN NULL;
END;
$$;
CREATE TRIGGER to_device_comes AFTER INSERT ON to_device
    FOR EACH ROW WHEN (NEW.origin IS NOT NULL) EXECUTE FUNCTION count_message_of_server();
CREATE TRIGGER to_device_goes AFTER DELETE ON to_device
    FOR EACH ROW WHEN (OLD.origin IS NOT NULL) EXECUTE FUNCTION count_message_of_server();

-- ended_of: the server that had sent an invitation which is open no longer, NULL while it is, or where somebody has
-- come into the room by it; ended_at: the stream position of its end.
ALTER TABLE invitations ADD COLUMN ended_of TEXT;
ALTER TABLE invitations ADD COLUMN ended_at BIGINT;
CREATE INDEX invitations_by_end ON invitations (ended_of, ended_at) WHERE ended_of IS NOT NULL;

-- version: the position of the last change that other servers are told of as one of devices, and so may have missed.
ALTER TABLE key_changes ADD COLUMN version BIGINT NOT NULL DEFAULT 0;
UPDATE key_changes SET version = position;
