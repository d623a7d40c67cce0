-- The number of the next line of the log.
ALTER TABLE templates ADD COLUMN log_next bigint NOT NULL DEFAULT 0;

-- Batches of lines of logs under way; those of templates that have ended are objects.
CREATE TABLE log_lines (
  template_id text COLLATE "C" NOT NULL REFERENCES templates (id) ON DELETE CASCADE,
  next_seq bigint NOT NULL,
  first_seq bigint NOT NULL,
  attempt bigint NOT NULL,
  lines bytea NOT NULL,
  PRIMARY KEY (template_id, next_seq)
);
