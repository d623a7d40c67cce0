-- Whose turn it is, kept beside the templates by triggers, so that neither a claim nor a submission reads more rows the more of them wait.
CREATE TABLE turns (
  owner TEXT PRIMARY KEY,
  -- Pending and building templates, how many of them are built, and the bytes that their images will have.
  active INTEGER NOT NULL,
  building INTEGER NOT NULL,
  coming_bytes INTEGER NOT NULL,
  -- When the oldest pending one was submitted.
  waiting_since INTEGER
) STRICT, WITHOUT ROWID;
INSERT INTO turns
  SELECT owner, count(*), sum(status = 'building'), sum(size_bytes), min(created_at) FILTER (WHERE status = 'pending')
  FROM templates WHERE status IN ('pending', 'building') GROUP BY owner;
CREATE INDEX turns_next ON turns (building, waiting_since, owner) WHERE waiting_since IS NOT NULL;
CREATE INDEX templates_pending ON templates (owner, created_at, id) WHERE status = 'pending';
CREATE INDEX templates_leases ON templates (lease_until, id) WHERE status = 'building';
CREATE INDEX templates_owned ON templates (owner, image_digest) WHERE image_digest IS NOT NULL;
DROP INDEX templates_active;

CREATE TRIGGER turns_submitted AFTER INSERT ON templates BEGIN
  INSERT INTO turns VALUES (NEW.owner, 1, 0, NEW.size_bytes, NEW.created_at)
  ON CONFLICT (owner) DO UPDATE SET active = active + 1, coming_bytes = coming_bytes + NEW.size_bytes,
    waiting_since = min(coalesce(waiting_since, NEW.created_at), NEW.created_at);
END;
CREATE TRIGGER turns_changed AFTER UPDATE OF status ON templates WHEN OLD.status <> NEW.status BEGIN
  UPDATE turns SET building = building + (NEW.status = 'building') - (OLD.status = 'building'),
    active = active - (NEW.status IN ('ready', 'failed')),
    coming_bytes = coming_bytes - iif(NEW.status IN ('ready', 'failed'), OLD.size_bytes, 0),
    waiting_since = (SELECT min(created_at) FROM templates WHERE owner = NEW.owner AND status = 'pending')
  WHERE owner = NEW.owner;
END;
CREATE TRIGGER turns_removed AFTER DELETE ON templates WHEN OLD.status IN ('pending', 'building') BEGIN
  UPDATE turns SET building = building - (OLD.status = 'building'), active = active - 1, coming_bytes = coming_bytes - OLD.size_bytes,
    waiting_since = (SELECT min(created_at) FROM templates WHERE owner = OLD.owner AND status = 'pending')
  WHERE owner = OLD.owner;
END;

-- The bytes of disk that all images take.
CREATE TABLE images_total (allocated_bytes INTEGER NOT NULL) STRICT;
INSERT INTO images_total SELECT coalesce(sum(allocated_bytes), 0) FROM images;
CREATE TRIGGER images_added AFTER INSERT ON images BEGIN
  UPDATE images_total SET allocated_bytes = allocated_bytes + NEW.allocated_bytes;
END;
CREATE TRIGGER images_removed AFTER DELETE ON images BEGIN
  UPDATE images_total SET allocated_bytes = allocated_bytes - OLD.allocated_bytes;
END;
