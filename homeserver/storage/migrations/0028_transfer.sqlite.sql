-- How long content in quarantine is, in bytes; NULL where nobody knows any more. What comes from elsewhere and may be
-- such content is shown to nobody before it has come whole.
ALTER TABLE media_quarantine ADD COLUMN size INTEGER;
UPDATE media_quarantine SET size = (SELECT MIN(size) FROM media WHERE media.sha256 = media_quarantine.sha256);
CREATE INDEX media_quarantine_by_size ON media_quarantine (size);
