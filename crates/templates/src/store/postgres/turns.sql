-- Whose turn it is, kept beside the templates by triggers, so that neither a claim nor a submission reads more rows the more of them wait.
CREATE TABLE turns (
  owner text COLLATE "C" PRIMARY KEY,
  -- Pending and building templates, how many of them are built, and the bytes that their images will have.
  active bigint NOT NULL,
  building bigint NOT NULL,
  coming_bytes bigint NOT NULL,
  -- When the oldest pending one was submitted.
  waiting_since bigint
);
-- Nothing changes between the counts and the triggers.
LOCK TABLE templates, images IN ACCESS EXCLUSIVE MODE;
INSERT INTO turns
  SELECT owner, count(*), count(*) FILTER (WHERE status = 'building'), sum(size_bytes), min(created_at) FILTER (WHERE status = 'pending')
  FROM templates WHERE status IN ('pending', 'building') GROUP BY owner;
CREATE INDEX turns_next ON turns (building, waiting_since, owner) WHERE waiting_since IS NOT NULL;
CREATE INDEX templates_pending ON templates (owner, created_at, id) WHERE status = 'pending';
CREATE INDEX templates_leases ON templates (lease_until, id) WHERE status = 'building';
CREATE INDEX templates_owned ON templates (owner, image_digest) WHERE image_digest IS NOT NULL;
CREATE INDEX templates_holder ON templates (holder) WHERE holder IS NOT NULL;
DROP INDEX templates_active;

-- The row of the owner is locked in a statement of its own: the next one then sees every template that others added before.
CREATE FUNCTION drydock_turn() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  more bigint := 0;
  built bigint := 0;
  bytes bigint := 0;
  whose text;
BEGIN
  IF TG_OP = 'INSERT' THEN
    INSERT INTO turns VALUES (NEW.owner, 1, 0, NEW.size_bytes, NEW.created_at)
    ON CONFLICT (owner) DO UPDATE SET active = turns.active + 1, coming_bytes = turns.coming_bytes + excluded.coming_bytes,
      waiting_since = least(turns.waiting_since, excluded.waiting_since);
    RETURN NULL;
  END IF;
  whose := OLD.owner;
  built := -(OLD.status = 'building')::int;
  IF TG_OP = 'UPDATE' THEN
    built := built + (NEW.status = 'building')::int;
  END IF;
  IF TG_OP = 'DELETE' OR NEW.status IN ('ready', 'failed') THEN
    more := -1;
    bytes := -OLD.size_bytes;
  END IF;
  PERFORM 1 FROM turns WHERE owner = whose FOR UPDATE;
  UPDATE turns SET active = active + more, building = building + built, coming_bytes = coming_bytes + bytes,
    waiting_since = (SELECT created_at FROM templates WHERE owner = whose AND status = 'pending' ORDER BY created_at, id LIMIT 1)
  WHERE owner = whose;
  RETURN NULL;
END $$;
CREATE TRIGGER turns_submitted AFTER INSERT ON templates FOR EACH ROW EXECUTE FUNCTION drydock_turn();
CREATE TRIGGER turns_changed AFTER UPDATE OF status ON templates FOR EACH ROW WHEN (OLD.status <> NEW.status)
  EXECUTE FUNCTION drydock_turn();
CREATE TRIGGER turns_removed AFTER DELETE ON templates FOR EACH ROW WHEN (OLD.status IN ('pending', 'building'))
  EXECUTE FUNCTION drydock_turn();

-- The job that comes next, locked: one whose lease is over; else, of the owner who builds least, and of those the one who has waited longest,
-- the oldest. An owner whose row somebody else holds is passed over, so that claims at one moment are of different owners; the locks are
-- taken without waiting, since everybody else locks a template before its owner.
CREATE FUNCTION drydock_next() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  now bigint := drydock_now();
  whose text;
  found_id text;
BEGIN
  SELECT id INTO found_id FROM templates WHERE status = 'building' AND lease_until < now
    ORDER BY lease_until, id LIMIT 1 FOR UPDATE SKIP LOCKED;
  IF found_id IS NOT NULL THEN
    RETURN found_id;
  END IF;
  SELECT owner INTO whose FROM turns WHERE waiting_since IS NOT NULL
    ORDER BY building, waiting_since, owner LIMIT 1 FOR UPDATE SKIP LOCKED;
  SELECT id INTO found_id FROM templates WHERE owner = whose AND status = 'pending'
    ORDER BY created_at, id LIMIT 1 FOR UPDATE SKIP LOCKED;
  IF found_id IS NOT NULL THEN
    RETURN found_id;
  END IF;
  -- All of them are held, as where one owner alone waits: a second job of one of them.
  FOR whose IN SELECT owner FROM turns WHERE waiting_since IS NOT NULL ORDER BY building, waiting_since, owner LOOP
    SELECT id INTO found_id FROM templates WHERE owner = whose AND status = 'pending'
      ORDER BY created_at, id LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF found_id IS NOT NULL THEN
      RETURN found_id;
    END IF;
  END LOOP;
  RETURN NULL;
END $$;

-- The bytes of disk that all images take, in some rows, so that builds that end at one moment do not wait for each other.
CREATE TABLE images_total (
  slot int PRIMARY KEY,
  allocated_bytes bigint NOT NULL
);
INSERT INTO images_total SELECT slot, 0 FROM generate_series(1, 15) AS slot;
INSERT INTO images_total SELECT 0, coalesce(sum(allocated_bytes), 0) FROM images;
CREATE FUNCTION drydock_images_total() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE images_total SET allocated_bytes = allocated_bytes
    + CASE WHEN TG_OP = 'INSERT' THEN NEW.allocated_bytes ELSE -OLD.allocated_bytes END
  WHERE slot = pg_backend_pid() % 16;
  RETURN NULL;
END $$;
CREATE TRIGGER images_added AFTER INSERT ON images FOR EACH ROW EXECUTE FUNCTION drydock_images_total();
CREATE TRIGGER images_removed AFTER DELETE ON images FOR EACH ROW EXECUTE FUNCTION drydock_images_total();
