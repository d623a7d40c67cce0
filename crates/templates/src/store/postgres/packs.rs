//! Which manifests there are, and which packs of chunks they refer to, so that nobody removes a pack that is needed.
//!
//! A manifest lives as long as its image has a row, or as its attempt may still end. The references of a manifest are there before its
//! objects are: what is among the objects and has no row is of no use. A pack is condemned in a transaction that finds no reference
//! to it, and referred to in one that finds it not condemned; both lock its row first, so the later of the two sees the earlier.
//! A name of a pack holds its attempt and never comes again: who removes it late removes nothing else.

use std::collections::BTreeSet;

use super::pool::Connection;
use super::{Postgres, StoreError, corrupt, held, signed, small, strings};
use crate::lifecycle::Status;
use crate::objects::{ImageObject, Origin, PackObject};
use crate::template::{Owner, Template};

/// Packs that are condemned at a time.
const CONDEMNED_MAX: i64 = 1_000;

/// A manifest that is among the objects, or is about to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ManifestRow {
    pub(crate) object: ImageObject,
    /// SHA-256 of the manifest: what else is found under its name is not believed.
    pub(crate) sha256: String,
}

/// What came of references.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Referred {
    /// They hold.
    Held,
    /// The template is not this attempt's any more.
    Lost,
    /// Nothing was changed: these packs are going, or gone.
    Gone(Vec<String>),
}

impl Postgres {
    /// Notes that the attempt of `template` makes this manifest, which refers to these packs. `own` may be among them, and is new then.
    /// Said again it replaces what was said before.
    pub(crate) fn refer(
        &self,
        template: &Template,
        row: &ManifestRow,
        own: &str,
        packs: &[String],
    ) -> Result<Referred, StoreError> {
        let (id, attempt) = (template.id.as_str(), i64::from(template.attempt));
        self.pool.write(|connection, _| {
            if held(connection, &template.id, template.attempt)?.is_none_or(|found| found.status != Status::Building) {
                return Ok(Referred::Lost);
            }
            if packs.iter().any(|pack| pack == own) {
                connection.execute("INSERT INTO packs (name) VALUES ($1) ON CONFLICT DO NOTHING", &[&own])?;
            }
            let gone = gone(connection, packs)?;
            if !gone.is_empty() {
                return Ok(Referred::Gone(gone));
            }
            connection.execute("DELETE FROM manifests WHERE template_id = $1 AND attempt = $2", &[&id, &attempt])?;
            let insert =
                "INSERT INTO manifests (template_id, attempt, digest, sha256, owner) VALUES ($1, $2, $3, $4, $5)";
            let (digest, owner) = (&row.object.digest, template.owner.as_str());
            connection.execute(insert, &[&id, &attempt, digest, &row.sha256, &owner])?;
            let refer = "INSERT INTO pack_refs (template_id, attempt, pack) SELECT $1, $2, unnest($3::text[])";
            connection.execute(refer, &[&id, &attempt, &packs])?;
            Ok(Referred::Held)
        })
    }

    /// The manifests of the newest ready images of an owner on a base, those of that name first.
    pub(crate) fn manifests_like(&self, template: &Template, limit: u32) -> Result<Vec<ManifestRow>, StoreError> {
        let query = "SELECT m.digest, m.template_id, m.attempt, m.sha256 FROM templates AS t
                     JOIN manifests AS m ON m.template_id = t.id AND m.attempt = t.attempt
                     WHERE t.owner = $1 AND t.base = $2 AND t.status = 'ready'
                     ORDER BY t.name = $3 DESC, t.built_at DESC, t.id LIMIT $4";
        let (owner, name) = (template.owner.as_str(), template.name.as_str());
        self.pool.read(|connection| {
            let rows = connection.query(query, &[&owner, &template.base, &name, &i64::from(limit)])?;
            rows.iter().map(manifest).collect()
        })
    }

    /// The manifests of an image, newest first; of those that this owner made alone where one is named.
    pub(crate) fn manifests_of(&self, digest: &str, owner: Option<&Owner>) -> Result<Vec<ManifestRow>, StoreError> {
        let query = "SELECT digest, template_id, attempt, sha256 FROM manifests
                     WHERE digest = $1 AND ($2::text IS NULL OR owner = $2) ORDER BY template_id DESC, attempt DESC LIMIT 10";
        self.pool.read(|connection| {
            connection.query(query, &[&digest, &owner.map(Owner::as_str)])?.iter().map(manifest).collect()
        })
    }

    /// Whether a manifest of an image that this owner made refers to a pack.
    pub(crate) fn refers(&self, owner: &Owner, digest: &str, pack: &str) -> Result<bool, StoreError> {
        let query = "SELECT 1 FROM manifests JOIN pack_refs USING (template_id, attempt)
                     WHERE owner = $1 AND digest = $2 AND pack = $3 LIMIT 1";
        self.pool.read(|connection| Ok(connection.first(query, &[&owner.as_str(), &digest, &pack])?.is_some()))
    }

    /// Forgets the manifests whose image is gone and whose attempt can't end any more, with their references; condemns the packs that
    /// no manifest refers to, and gives the names of all that are condemned.
    pub(crate) fn condemn_packs(&self) -> Result<Vec<String>, StoreError> {
        // One statement: an image that its attempt has just named is seen either under way or there.
        let forget = "DELETE FROM manifests AS m WHERE NOT EXISTS (SELECT 1 FROM images WHERE digest = m.digest) AND NOT EXISTS
                      (SELECT 1 FROM templates AS t WHERE t.id = m.template_id AND t.attempt = m.attempt AND t.status = 'building')";
        let free =
            "SELECT name FROM packs WHERE NOT condemned AND NOT EXISTS (SELECT 1 FROM pack_refs WHERE pack = name)
                    ORDER BY name LIMIT $1 FOR UPDATE SKIP LOCKED";
        // Looked at again now that they are locked: a reference may have come between.
        let condemn = "UPDATE packs SET condemned = true
                       WHERE name = ANY($1) AND NOT EXISTS (SELECT 1 FROM pack_refs WHERE pack = name)";
        self.pool.write(|connection, _| {
            connection.execute(forget, &[])?;
            let free = strings(connection, free, &[&CONDEMNED_MAX])?;
            connection.execute(condemn, &[&free])?;
            strings(connection, "SELECT name FROM packs WHERE condemned ORDER BY name LIMIT $1", &[&CONDEMNED_MAX])
        })
    }

    /// Forgets a condemned pack, whose object is gone.
    pub(crate) fn forget_pack(&self, name: &str) -> Result<(), StoreError> {
        let forget = "DELETE FROM packs WHERE name = $1 AND condemned";
        self.pool.write(|connection, _| connection.execute(forget, &[&name]).map(drop))
    }

    /// Those whose manifest has a row, or whose attempt may still end.
    pub(crate) fn living_manifests(&self, all: &[Origin]) -> Result<BTreeSet<Origin>, StoreError> {
        let query = format!(
            "SELECT one.id, one.attempt FROM unnest($1::text[], $2::bigint[]) AS one (id, attempt) WHERE {MAY_END}
             OR EXISTS (SELECT 1 FROM manifests AS m WHERE m.template_id = one.id AND m.attempt = one.attempt)"
        );
        let (ids, attempts) = columns(all.iter());
        self.pool
            .read(|connection| connection.query(&query, &[&ids, &attempts])?.iter().map(|row| origin(row, 0)).collect())
    }

    /// The names of those whose pack has a row, or whose attempt may still end.
    pub(crate) fn living_packs(&self, all: &[PackObject]) -> Result<BTreeSet<String>, StoreError> {
        let query = format!(
            "SELECT one.name FROM unnest($1::text[], $2::bigint[], $3::text[]) AS one (id, attempt, name) WHERE {MAY_END}
             OR EXISTS (SELECT 1 FROM packs WHERE packs.name = one.name)"
        );
        let (ids, attempts) = columns(all.iter().map(|pack| &pack.origin));
        let names: Vec<&str> = all.iter().map(|pack| pack.name.as_str()).collect();
        self.pool.read(|connection| Ok(strings(connection, &query, &[&ids, &attempts, &names])?.into_iter().collect()))
    }
}

/// Whether the attempt of `one` is under way.
const MAY_END: &str = "EXISTS (SELECT 1 FROM templates AS t
                       WHERE t.id = one.id AND t.attempt = one.attempt AND t.status = 'building')";

fn columns<'a>(origins: impl Iterator<Item = &'a Origin>) -> (Vec<&'a str>, Vec<i64>) {
    origins.map(|one| (one.id.as_str(), signed(one.attempt))).unzip()
}

/// Those of these packs that can't be referred to. The others stay until the transaction ends.
fn gone(connection: &mut Connection, packs: &[String]) -> Result<Vec<String>, StoreError> {
    let lock = "SELECT name FROM packs WHERE name = ANY($1) AND NOT condemned ORDER BY name FOR SHARE";
    let there: BTreeSet<String> = strings(connection, lock, &[&packs])?.into_iter().collect();
    Ok(packs.iter().filter(|pack| !there.contains(*pack)).cloned().collect())
}

fn manifest(row: &postgres::Row) -> Result<ManifestRow, StoreError> {
    let object = ImageObject { digest: row.get(0), origin: origin(row, 1)? };
    Ok(ManifestRow { object, sha256: row.get(3) })
}

fn origin(row: &postgres::Row, at: usize) -> Result<Origin, StoreError> {
    let id = row.get::<_, &str>(at).parse().map_err(corrupt("an id"))?;
    Ok(Origin { id, attempt: small(row.get(at + 1)) })
}
