-- Results of steps that hosts share, and the layers they name, which are objects. A row of a layer is there before its object.
CREATE TABLE cached_steps (
  key text COLLATE "C" PRIMARY KEY,
  entry bytea NOT NULL,
  made_at bigint NOT NULL,
  used_at bigint NOT NULL
);
CREATE INDEX cached_steps_used ON cached_steps (used_at);

CREATE TABLE cached_layers (
  name text COLLATE "C" PRIMARY KEY,
  bytes bigint NOT NULL,
  used_at bigint NOT NULL
);
CREATE INDEX cached_layers_used ON cached_layers (used_at);
