//! Images of registries (distribution specification, "Pull").
//!
//! ```text
//!   name ──endpoints──▶ mirrors, then the registry ──Client: TLS, token, redirects, retries──▶ manifest
//!                                                                                        └──▶ Download: a blob, resumed
//! ```
//!
//! What comes is checked by whoever reads it: documents and layers by their digests.

mod challenge;
mod client;
mod credentials;
mod download;
mod name;
mod options;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::digest::Digest;
use crate::error::Error;
use crate::limits::Limits;
use crate::select::MANIFEST_TYPES;
use crate::source::{Blob, Source, What, check_digest};
use client::{Client, Failure, Request, Response, explain, is_timeout, pause};
use download::Download;

pub use name::RegistryName;
pub use options::{Credentials, RegistryOptions};

/// The image of that name, and everywhere it may be had.
#[derive(Debug)]
pub(crate) struct Registry {
    name: RegistryName,
    hosts: Arc<Hosts>,
}

/// A manifest or index as the registry has it.
#[derive(Debug)]
pub(crate) struct Top {
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    pub(crate) document: Vec<u8>,
}

impl Registry {
    pub(crate) fn new(name: &RegistryName, options: &RegistryOptions) -> Result<Self, Error> {
        Ok(Self { name: name.clone(), hosts: Arc::new(Hosts::new(name, options)?) })
    }

    /// What the name stands for now.
    pub(crate) fn top(&self, limits: &Limits) -> Result<Top, Error> {
        let path = format!("manifests/{}", self.name.manifest());
        let request = Request { path: &path, accept: &MANIFEST_TYPES, from: 0, document: true };
        let (response, document) = self.document(&request, limits)?;
        let (media_type, announced) = (response.header("content-type"), response.header("docker-content-digest"));
        let place = || format!("the manifest of {}", self.name);
        if u64::try_from(document.len()).is_ok_and(|len| len > limits.json_bytes) {
            return Err(Error::Limit { what: format!("the size of {}", place()), max: limits.json_bytes });
        }
        let digest = Digest::of(&document);
        if let Some(expected) = self.name.digest() {
            check_digest(&format!("the digest of {}", place()), expected, &digest)?;
        }
        // An announced digest of another kind can't be compared; the one that was asked for always is.
        if let Some(Ok(announced)) = announced.map(|text| text.parse::<Digest>()) {
            check_digest(&format!("the digest of {}", place()), &announced, &digest)?;
        }
        let media_type = media_type.unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
        Ok(Top { digest, media_type, document })
    }

    /// An answer and its bytes, at most one more than a document may have. One that breaks off is asked for again as a whole:
    /// what a tag stands for may be another manifest by now.
    fn document(&self, request: &Request<'_>, limits: &Limits) -> Result<(Response, Vec<u8>), Error> {
        let options = &self.hosts.options;
        let refused = |why: String| Error::Registry { place: self.hosts.place(request.path), why };
        let mut failures = 0;
        loop {
            let mut response = self.hosts.get(request)?;
            let announced = response.header("content-length").and_then(|len| len.parse().ok());
            let wanted: usize = announced.unwrap_or(0);
            let mut document = Vec::new();
            let why = match (&mut response.body).take(limits.json_bytes + 1).read_to_end(&mut document) {
                Ok(len) if len >= wanted || u64::try_from(len).is_ok_and(|len| len > limits.json_bytes) => {
                    return Ok((response, document));
                }
                Ok(len) => format!("the connection ended at byte {len} of {wanted}"),
                // It has had its time.
                Err(error) if is_timeout(&error) => return Err(refused(explain(&error, options))),
                Err(error) => explain(&error, options),
            };
            failures += 1;
            if failures > options.retries {
                return Err(refused(format!("it broke off {failures} times: {why}; try again later")));
            }
            tracing::warn!(path = request.path, why, "a document broke off and is asked for again");
            pause(failures, None, options).map_err(|failure| match failure {
                Failure::Cancelled => Error::Cancelled,
                Failure::Refused(why) => refused(why),
            })?;
        }
    }
}

impl Source for Registry {
    fn open(&self, what: What<'_>, size: Option<u64>) -> Result<Blob, Error> {
        let (path, document) = match what {
            What::Manifest(digest) => (format!("manifests/{digest}"), true),
            What::Blob(digest) => (format!("blobs/{digest}"), false),
            What::File(name) => return Err(Error::Missing { what: "file", name: name.to_owned() }),
        };
        let accept = if document { &MANIFEST_TYPES[..] } else { &[] };
        let response = self.hosts.get(&Request { path: &path, accept, from: 0, document })?;
        let announced = response.header("content-length").and_then(|len| len.parse().ok());
        let len = announced.or(size).unwrap_or_default();
        Ok(Blob::new(Download::new(Arc::clone(&self.hosts), path, accept, response, len), len))
    }
}

/// Mirrors in their order, then the registry itself. Whoever answered last is asked first.
#[derive(Debug)]
struct Hosts {
    clients: Vec<Client>,
    answered: AtomicUsize,
    options: RegistryOptions,
}

impl Hosts {
    fn new(name: &RegistryName, options: &RegistryOptions) -> Result<Self, Error> {
        let mirrors = options.mirrors.get(name.host()).map(Vec::as_slice).unwrap_or_default();
        let wrong = |why: String| Error::Registry { place: name.to_string(), why };
        let mut clients = Vec::new();
        for mirror in mirrors {
            clients.push(Client::of_mirror(mirror, name, options).map_err(wrong)?);
        }
        if mirrors.is_empty() || !options.mirrors_only {
            clients.push(Client::of_registry(name, options).map_err(wrong)?);
        }
        Ok(Self { clients, answered: AtomicUsize::new(0), options: options.clone() })
    }

    /// How what was asked for last is named in messages.
    fn place(&self, path: &str) -> String {
        self.clients[self.answered.load(Ordering::Relaxed)].place(path)
    }

    /// The first good answer; an error says what each of them said.
    fn get(&self, request: &Request<'_>) -> Result<Response, Error> {
        let first = self.answered.load(Ordering::Relaxed);
        let order = std::iter::once(first).chain((0..self.clients.len()).filter(|&at| at != first));
        let mut failures = Vec::new();
        for at in order {
            match self.clients[at].get(request) {
                Ok(response) => {
                    self.answered.store(at, Ordering::Relaxed);
                    return Ok(response);
                }
                Err(Failure::Cancelled) => return Err(Error::Cancelled),
                Err(Failure::Refused(why)) => failures.push((self.clients[at].place(request.path), why)),
            }
        }
        let mut failures = failures.into_iter();
        let (place, why) = failures.next().expect("there is a host at least");
        let why = failures.fold(why, |all, (place, why)| format!("{all}; {place}: {why}"));
        Err(Error::Registry { place, why })
    }
}
