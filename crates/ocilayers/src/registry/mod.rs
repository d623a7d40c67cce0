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
use client::{Client, Failure, Request, Response};
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
        let response = self.hosts.get(&Request { path: &path, accept: &MANIFEST_TYPES, from: 0, document: true })?;
        let (media_type, announced) = (response.header("content-type"), response.header("docker-content-digest"));
        let mut document = Vec::new();
        let read = response.body.take(limits.json_bytes + 1).read_to_end(&mut document);
        let place = || format!("the manifest of {}", self.name);
        read.map_err(|error| Error::Registry { place: place(), why: error.to_string() })?;
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
