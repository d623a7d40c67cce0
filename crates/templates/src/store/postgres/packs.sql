-- A manifest of an image that an attempt put among the objects, with its own digest. Its row is there before its object is.
CREATE TABLE manifests (
  template_id text COLLATE "C" NOT NULL,
  attempt bigint NOT NULL,
  digest text COLLATE "C" NOT NULL,
  sha256 text COLLATE "C" NOT NULL,
  owner text COLLATE "C" NOT NULL,
  PRIMARY KEY (template_id, attempt)
);
CREATE INDEX manifests_image ON manifests (digest, owner);

-- Packs of chunks. One that is condemned is being removed, and is referred to no more.
CREATE TABLE packs (
  name text COLLATE "C" PRIMARY KEY,
  condemned boolean NOT NULL DEFAULT false
);

CREATE TABLE pack_refs (
  template_id text COLLATE "C" NOT NULL,
  attempt bigint NOT NULL,
  pack text COLLATE "C" NOT NULL REFERENCES packs (name),
  PRIMARY KEY (template_id, attempt, pack),
  FOREIGN KEY (template_id, attempt) REFERENCES manifests (template_id, attempt) ON DELETE CASCADE
);
CREATE INDEX pack_refs_pack ON pack_refs (pack);

-- The newest images of an owner on a base.
CREATE INDEX templates_based ON templates (owner, base, built_at DESC) WHERE status = 'ready';
