//! Which image of an index is meant: by tag, then by platform (OCI image specification, image-index.md).

use oci_spec::image::{Descriptor, ImageIndex, MediaType};

use crate::digest::Digest;
use crate::error::Error;
use crate::limits::Limits;
use crate::platform::Platform;
use crate::source::{Source, What, document, verified};

/// The annotation that carries a tag in a layout (OCI image specification, annotations.md).
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// What marks a manifest that describes another one instead of being an image.
const DOCKER_REFERENCE_TYPE: &str = "vnd.docker.reference.type";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// The images of a layout, or the one of a tag.
pub(crate) fn tagged(source: &dyn Source, tag: Option<&str>, limits: &Limits) -> Result<Vec<Descriptor>, Error> {
    let mut candidates = index("index.json", &document(source, "index.json", limits)?)?;
    if let Some(tag) = tag {
        let tags: Vec<String> =
            candidates.iter().filter_map(|descriptor| tag_of(descriptor).map(str::to_owned)).collect();
        candidates.retain(|descriptor| tag_of(descriptor) == Some(tag));
        if candidates.is_empty() {
            return Err(Error::Selection(format!("the layout has no image '{tag}'; it has: {}", listed(&tags))));
        }
    }
    Ok(candidates)
}

/// The manifest for a platform among candidates, of which each may be an index of more.
pub(crate) fn manifest(
    source: &dyn Source,
    mut candidates: Vec<Descriptor>,
    platform: &Platform,
    limits: &Limits,
) -> Result<Descriptor, Error> {
    for _ in 0..=limits.index_depth {
        let descriptor = one(candidates, platform)?;
        if !is_index(descriptor.media_type().as_ref()) {
            return Ok(descriptor);
        }
        let digest = Digest::of_descriptor(&descriptor)?;
        let document = verified(source, What::Manifest(&digest), descriptor.size(), limits)?;
        candidates = index(&digest.to_string(), &document)?;
    }
    Err(Error::Limit {
        what: "the number of indexes inside each other".to_owned(),
        max: u64::try_from(limits.index_depth).unwrap_or(u64::MAX),
    })
}

/// Whether a media type is that of an index.
pub(crate) fn is_index(media_type: &str) -> bool {
    media_type == MediaType::ImageIndex.as_ref() || media_type == DOCKER_INDEX
}

/// The media types of what [`manifest`] and [`index`] read, for whoever asks a registry.
pub(crate) const MANIFEST_TYPES: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    DOCKER_INDEX,
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

fn tag_of(descriptor: &Descriptor) -> Option<&str> {
    descriptor.annotations().as_ref()?.get(REF_NAME).map(String::as_str)
}

/// The entries of an index.
pub(crate) fn index(name: &str, document: &[u8]) -> Result<Vec<Descriptor>, Error> {
    crate::image::refuse_ambiguous(name, document)?;
    let index: ImageIndex = serde_json::from_slice(document)
        .map_err(|error| Error::Document { what: name.to_owned(), why: error.to_string() })?;
    Ok(index.manifests().clone())
}

/// The one image that fits the platform best. A descriptor without a platform is for any.
fn one(mut candidates: Vec<Descriptor>, wanted: &Platform) -> Result<Descriptor, Error> {
    candidates.retain(|descriptor| {
        descriptor.annotations().as_ref().is_none_or(|annotations| !annotations.contains_key(DOCKER_REFERENCE_TYPE))
    });
    let all: Vec<String> = candidates.iter().map(described).collect();
    let distance = |descriptor: &Descriptor| match descriptor.platform() {
        None => Some(0),
        Some(offered) => wanted.distance_to(offered),
    };
    let mut fitting: Vec<_> = candidates.into_iter().filter_map(|each| Some((distance(&each)?, each))).collect();
    fitting.sort_by_key(|(distance, _)| *distance);
    match fitting.as_slice() {
        [] => Err(Error::Selection(format!("there is no image for {wanted}; there are: {}", listed(&all)))),
        [(first, _), (second, _), ..] if first == second => {
            Err(Error::Selection(format!("there are several images; name one by its tag: {}", listed(&all))))
        }
        _ => Ok(fitting.swap_remove(0).1),
    }
}

fn described(descriptor: &Descriptor) -> String {
    let tag = tag_of(descriptor).unwrap_or("no tag");
    match descriptor.platform() {
        Some(platform) => format!("{tag} ({})", Platform::from(platform)),
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
