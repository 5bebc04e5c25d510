-- How much of others there may be: messages that wait, invitations that are open; and whose devices operators made.

-- origin: the server that sent a message, NULL for what came from here. origin_sum, others_sum: how many bytes that
-- server, and all other servers, had sent to the device with it, counted from when none of theirs waited.
ALTER TABLE to_device ADD COLUMN origin TEXT;
ALTER TABLE to_device ADD COLUMN origin_sum BIGINT;
ALTER TABLE to_device ADD COLUMN others_sum BIGINT;
CREATE INDEX to_device_by_origin ON to_device (user_id, device_id, origin, origin_sum) WHERE origin IS NOT NULL;
CREATE INDEX to_device_of_others ON to_device (user_id, device_id, others_sum) WHERE origin IS NOT NULL;

-- origin: the server that has sent an invitation, user_id: to whom; NULL for what is no invitation.
ALTER TABLE invitations ADD COLUMN origin TEXT;
ALTER TABLE invitations ADD COLUMN user_id TEXT;
CREATE INDEX invitations_by_origin ON invitations (origin, user_id) WHERE origin IS NOT NULL;
CREATE INDEX invitations_by_user ON invitations (user_id) WHERE user_id IS NOT NULL;

-- made_by: the operator who let themselves in as somebody else, by whom the device is used.
ALTER TABLE devices ADD COLUMN made_by TEXT;
CREATE INDEX devices_by_maker ON devices (made_by) WHERE made_by IS NOT NULL;
