//! Which image of an index is meant: by tag, then by platform (OCI image specification, image-index.md).

use oci_spec::image::{Arch, Descriptor, ImageIndex, MediaType, Os};

use crate::blobs::Blobs;
use crate::error::Error;
use crate::limits::Limits;

/// The annotation that carries a tag in a layout (OCI image specification, annotations.md).
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// What marks a manifest that describes another one instead of being an image.
const DOCKER_REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// The manifest of the image of that tag for Linux on this machine's architecture.
pub(crate) fn manifest(blobs: &Blobs, tag: Option<&str>, limits: &Limits) -> Result<Descriptor, Error> {
    let document = blobs.document("index.json", limits)?;
    let mut candidates = index("index.json", &document)?.manifests().clone();
    if let Some(tag) = tag {
        let tags: Vec<String> =
            candidates.iter().filter_map(|descriptor| tag_of(descriptor).map(str::to_owned)).collect();
        candidates.retain(|descriptor| tag_of(descriptor) == Some(tag));
        if candidates.is_empty() {
            return Err(Error::Selection(format!("the layout has no image '{tag}'; it has: {}", listed(&tags))));
        }
    }
    for _ in 0..=limits.index_depth {
        let descriptor = one(candidates)?;
        if !matches!(descriptor.media_type(), MediaType::ImageIndex) && !is_docker_index(&descriptor) {
            return Ok(descriptor);
        }
        let digest = descriptor.digest().to_string();
        let document = blobs.document_blob(&digest.parse()?, descriptor.size(), limits)?;
        candidates = index(&digest, &document)?.manifests().clone();
    }
    Err(Error::Limit {
        what: "the number of indexes inside each other".to_owned(),
        max: u64::try_from(limits.index_depth).unwrap_or(u64::MAX),
    })
}

fn is_docker_index(descriptor: &Descriptor) -> bool {
    descriptor.media_type().as_ref() == "application/vnd.docker.distribution.manifest.list.v2+json"
}

fn tag_of(descriptor: &Descriptor) -> Option<&str> {
    descriptor.annotations().as_ref()?.get(REF_NAME).map(String::as_str)
}

fn index(name: &str, document: &[u8]) -> Result<ImageIndex, Error> {
    crate::image::refuse_ambiguous(name, document)?;
    serde_json::from_slice(document).map_err(|error| Error::Document { what: name.to_owned(), why: error.to_string() })
}

/// The one image for this platform among several descriptors.
fn one(mut candidates: Vec<Descriptor>) -> Result<Descriptor, Error> {
    candidates.retain(|descriptor| {
        descriptor.annotations().as_ref().is_none_or(|annotations| !annotations.contains_key(DOCKER_REFERENCE_TYPE))
    });
    let all: Vec<String> = candidates.iter().map(described).collect();
    let mut fitting: Vec<Descriptor> = candidates.into_iter().filter(fits).collect();
    match fitting.len() {
        1 => Ok(fitting.remove(0)),
        0 => Err(Error::Selection(format!(
            "there is no image for linux/{}; there are: {}",
            Arch::default(),
            listed(&all)
        ))),
        _ => Err(Error::Selection(format!("there are several images; name one by its tag: {}", listed(&all)))),
    }
}

/// A descriptor without a platform is for any.
fn fits(descriptor: &Descriptor) -> bool {
    descriptor
        .platform()
        .as_ref()
        .is_none_or(|platform| *platform.os() == Os::Linux && *platform.architecture() == Arch::default())
}

fn described(descriptor: &Descriptor) -> String {
    let tag = tag_of(descriptor).unwrap_or("no tag");
    match descriptor.platform() {
        Some(platform) => format!("{tag} ({}/{})", platform.os(), platform.architecture()),
        None => tag.to_owned(),
    }
}

fn listed(names: &[String]) -> String {
    const SHOWN: usize = 20;
    if names.is_empty() {
        return "none".to_owned();
    }
    let more = if names.len() > SHOWN { ", ..." } else { "" };
    names[..names.len().min(SHOWN)].join(", ") + more
}
