CREATE TABLE templates (
  id TEXT PRIMARY KEY,
  owner TEXT NOT NULL,
  name TEXT NOT NULL,
  base TEXT NOT NULL,
  dockerfile TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('pending', 'building', 'ready', 'failed')),
  disk_size_bytes INTEGER,
  size_bytes INTEGER NOT NULL,
  no_cache INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  built_at INTEGER,
  version INTEGER,
  attempt INTEGER NOT NULL DEFAULT 0,
  interruptions INTEGER NOT NULL DEFAULT 0,
  holder TEXT,
  lease_until INTEGER,
  cancel_requested INTEGER NOT NULL DEFAULT 0,
  failure TEXT,
  image_digest TEXT REFERENCES images (digest),
  image_id TEXT,
  config TEXT,
  fingerprint TEXT,
  CHECK ((status = 'ready') = (image_digest IS NOT NULL)),
  CHECK ((status = 'failed') = (failure IS NOT NULL)),
  CHECK ((status = 'building') = (lease_until IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX templates_newest ON templates (owner, created_at DESC, id DESC);
CREATE INDEX templates_active ON templates (created_at, id) WHERE status IN ('pending', 'building');
CREATE INDEX templates_active_owner ON templates (owner) WHERE status IN ('pending', 'building');
CREATE INDEX templates_named ON templates (owner, name, created_at DESC, id DESC) WHERE status = 'ready';
CREATE INDEX templates_finished ON templates (owner, fingerprint) WHERE status = 'ready';
CREATE INDEX templates_image ON templates (image_digest) WHERE image_digest IS NOT NULL;

-- The last number of a name is kept, so that the number of a deleted version never comes again.
CREATE TABLE names (
  owner TEXT NOT NULL,
  name TEXT NOT NULL,
  last_version INTEGER NOT NULL,
  PRIMARY KEY (owner, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE images (
  digest TEXT PRIMARY KEY,
  size_bytes INTEGER NOT NULL,
  allocated_bytes INTEGER NOT NULL,
  released_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
  owner TEXT NOT NULL,
  key TEXT NOT NULL,
  request_hash TEXT NOT NULL,
  template_id TEXT NOT NULL REFERENCES templates (id) ON DELETE CASCADE,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (owner, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_age ON idempotency (created_at);
CREATE INDEX idempotency_template ON idempotency (template_id);

CREATE TABLE api_keys (
  id TEXT PRIMARY KEY,
  owner TEXT NOT NULL,
  secret_hash BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  revoked_at INTEGER
) STRICT, WITHOUT ROWID;
