-- Now, by the one clock that all hosts share: milliseconds since 1970.
CREATE FUNCTION drydock_now() RETURNS bigint LANGUAGE sql VOLATILE
  AS $$ SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint $$;

CREATE TABLE images (
  digest text COLLATE "C" PRIMARY KEY,
  size_bytes bigint NOT NULL,
  allocated_bytes bigint NOT NULL,
  released_at bigint NOT NULL
);

CREATE TABLE templates (
  id text COLLATE "C" PRIMARY KEY,
  owner text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  base text NOT NULL,
  -- Bytes: a text of PostgreSQL can't hold a NUL.
  dockerfile bytea NOT NULL,
  status text NOT NULL CHECK (status IN ('pending', 'building', 'ready', 'failed')),
  disk_size_bytes bigint,
  size_bytes bigint NOT NULL,
  no_cache boolean NOT NULL,
  created_at bigint NOT NULL,
  built_at bigint,
  version bigint,
  attempt bigint NOT NULL DEFAULT 0,
  interruptions bigint NOT NULL DEFAULT 0,
  holder text,
  lease_until bigint,
  cancel_requested boolean NOT NULL DEFAULT false,
  failure text,
  image_digest text COLLATE "C" REFERENCES images (digest),
  image_id text,
  config text,
  fingerprint text,
  CHECK ((status = 'ready') = (image_digest IS NOT NULL)),
  CHECK ((status = 'failed') = (failure IS NOT NULL)),
  CHECK ((status = 'building') = (lease_until IS NOT NULL))
);
-- What was submitted lately, deleted or not: whoever submits again because the answer was lost must not bring back what was deleted meanwhile.
CREATE TABLE submitted (
  id text COLLATE "C" PRIMARY KEY,
  created_at bigint NOT NULL
);
CREATE INDEX submitted_oldest ON submitted (created_at);
CREATE INDEX templates_newest ON templates (owner, created_at DESC, id DESC);
CREATE INDEX templates_active ON templates (created_at, id) WHERE status IN ('pending', 'building');
CREATE INDEX templates_active_owner ON templates (owner) WHERE status IN ('pending', 'building');
CREATE INDEX templates_named ON templates (owner, name, created_at DESC, id DESC) WHERE status = 'ready';
CREATE INDEX templates_finished ON templates (owner, fingerprint) WHERE status = 'ready';
CREATE INDEX templates_image ON templates (image_digest) WHERE image_digest IS NOT NULL;

-- The last number of a name is kept, so that the number of a deleted version never comes again.
CREATE TABLE names (
  owner text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  last_version bigint NOT NULL,
  PRIMARY KEY (owner, name)
);

CREATE TABLE idempotency (
  owner text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  request_hash text NOT NULL,
  template_id text COLLATE "C" NOT NULL REFERENCES templates (id) ON DELETE CASCADE,
  created_at bigint NOT NULL,
  PRIMARY KEY (owner, key)
);
CREATE INDEX idempotency_age ON idempotency (created_at);
CREATE INDEX idempotency_template ON idempotency (template_id);

CREATE TABLE api_keys (
  id text COLLATE "C" PRIMARY KEY,
  owner text COLLATE "C" NOT NULL,
  secret_hash bytea NOT NULL,
  created_at bigint NOT NULL,
  revoked_at bigint
);
