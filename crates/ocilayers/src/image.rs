//! An image: its manifest, its config, its layers by digest. Documents are verified; layers are, when they are read.

use std::path::Path;

use oci_spec::image::{Descriptor, ImageManifest};
use serde::Deserialize;
use serde_json::Value;

use crate::digest::Digest;
use crate::error::Error;
use crate::limits::Limits;
use crate::platform::Platform;
use crate::reference::ImageRef;
use crate::registry::{Registry, RegistryOptions};
use crate::select;
use crate::source::{Archive, Directory, Source, What, check_digest, document, verified};

/// How an image is looked for.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// Caps on the image.
    pub limits: Limits,
    /// Which image of several is meant. Default: that for Linux on this machine's architecture.
    pub platform: Platform,
    /// How registries are spoken to.
    pub registry: RegistryOptions,
}

/// An image at its place.
#[derive(Debug)]
pub struct Image {
    pub(crate) source: Box<dyn Source>,
    manifest_digest: Option<Digest>,
    config: Vec<u8>,
    layers: Vec<LayerBlob>,
}

/// A layer as the image names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerBlob {
    /// Digest of the uncompressed tar, by the config.
    pub diff_id: Digest,
    /// Digest and size of the blob, by the manifest; `docker save` archives have none.
    pub blob: Option<(Digest, u64)>,
    /// Media type, by the manifest.
    pub media_type: Option<String>,
    /// Name of the member, in `docker save` archives.
    pub(crate) member: Option<String>,
}

impl Image {
    /// Opens the image that `reference` names, for Linux on this machine's architecture.
    ///
    /// # Errors
    /// As [`Self::open_with`].
    pub fn open(reference: &ImageRef, limits: &Limits) -> Result<Self, Error> {
        Self::open_with(reference, &OpenOptions { limits: *limits, ..OpenOptions::default() })
    }

    /// Opens the image that `reference` names.
    ///
    /// # Errors
    /// It is not there or can't be reached, is not an image, contradicts itself, or a document of it is not what its digest
    /// says. A plain tar is no image with a config: import it, or read it with [`crate::tree_of_tar`].
    pub fn open_with(reference: &ImageRef, options: &OpenOptions) -> Result<Self, Error> {
        let archive = |file: &Path| Archive::open(file, &options.limits);
        match reference {
            ImageRef::Layout { dir, tag } => Self::of_layout(Box::new(Directory(dir.clone())), tag.as_deref(), options),
            ImageRef::LayoutArchive { file, tag } => Self::of_layout(Box::new(archive(file)?), tag.as_deref(), options),
            ImageRef::DockerArchive { file, name } => {
                Self::of_docker(Box::new(archive(file)?), name.as_deref(), &options.limits)
            }
            ImageRef::Registry(name) => Self::of_registry(Registry::new(name, &options.registry)?, options),
            ImageRef::Tar { file } => {
                std::fs::metadata(file).map_err(Error::file(file))?;
                let why = "a plain tar has no config; make it an image with `drydock image import`".to_owned();
                Err(Error::Unsupported { what: file.display().to_string(), why })
            }
        }
    }

    /// Digest of the manifest; archives of `docker save` have none.
    #[must_use]
    pub fn manifest_digest(&self) -> Option<&Digest> {
        self.manifest_digest.as_ref()
    }

    /// The config, a JSON object (OCI image specification, config.md).
    #[must_use]
    pub fn config(&self) -> &[u8] {
        &self.config
    }

    /// The layers, lowest first.
    #[must_use]
    pub fn layers(&self) -> &[LayerBlob] {
        &self.layers
    }

    fn of_layout(source: Box<dyn Source>, tag: Option<&str>, options: &OpenOptions) -> Result<Self, Error> {
        check_layout_version(&*source, &options.limits)?;
        let candidates = select::tagged(&*source, tag, &options.limits)?;
        Self::among(source, candidates, options)
    }

    fn of_registry(registry: Registry, options: &OpenOptions) -> Result<Self, Error> {
        let top = registry.top(&options.limits)?;
        if !select::is_index(&top.media_type) {
            return Self::of_manifest(Box::new(registry), top.digest, &top.document, &options.limits);
        }
        let candidates = select::index(&top.digest.to_string(), &top.document)?;
        Self::among(Box::new(registry), candidates, options)
    }

    /// The image for the platform among several.
    fn among(source: Box<dyn Source>, candidates: Vec<Descriptor>, options: &OpenOptions) -> Result<Self, Error> {
        let chosen = select::manifest(&*source, candidates, &options.platform, &options.limits)?;
        let digest = Digest::of_descriptor(&chosen)?;
        let document = verified(&*source, What::Manifest(&digest), chosen.size(), &options.limits)?;
        Self::of_manifest(source, digest, &document, &options.limits)
    }

    fn of_manifest(source: Box<dyn Source>, digest: Digest, document: &[u8], limits: &Limits) -> Result<Self, Error> {
        let manifest = read_manifest(&digest, document)?;
        let config = manifest.config();
        let config = verified(&*source, What::Blob(&Digest::of_descriptor(config)?), config.size(), limits)?;
        let diff_ids = diff_ids(&config, limits)?;
        if diff_ids.len() != manifest.layers().len() {
            let why = format!("the manifest names {} layers, the config {}", manifest.layers().len(), diff_ids.len());
            return Err(Error::Document { what: format!("image {digest}"), why });
        }
        let layers = manifest.layers().iter().zip(diff_ids).map(|(descriptor, diff_id)| layer(descriptor, diff_id));
        let layers = layers.collect::<Result<_, _>>()?;
        Ok(Self { source, manifest_digest: Some(digest), config, layers })
    }

    fn of_docker(source: Box<dyn Source>, name: Option<&str>, limits: &Limits) -> Result<Self, Error> {
        let names = document(&*source, "manifest.json", limits)?;
        let images: Vec<DockerImage> = serde_json::from_slice(&names)
            .map_err(|error| Error::Document { what: "manifest.json".to_owned(), why: error.to_string() })?;
        let names: Vec<String> = images.iter().flat_map(|image| image.repo_tags.clone().unwrap_or_default()).collect();
        let mut chosen = images.into_iter().filter(|image| match (name, &image.repo_tags) {
            (Some(name), Some(tags)) => tags.iter().any(|tag| tag == name),
            (Some(_), None) => false,
            (None, _) => true,
        });
        let (Some(image), None) = (chosen.next(), chosen.next()) else {
            return Err(Error::Selection(format!(
                "the archive has not one image of that name; it has: {}",
                names.join(", ")
            )));
        };
        let config = document(&*source, &image.config, limits)?;
        if let Some(digest) = digest_in_name(&image.config) {
            check_digest("the digest of the config", &digest, &Digest::of(&config))?;
        }
        let diff_ids = diff_ids(&config, limits)?;
        if diff_ids.len() != image.layers.len() {
            let why = format!("it names {} layers, the config {}", image.layers.len(), diff_ids.len());
            return Err(Error::Document { what: "manifest.json".to_owned(), why });
        }
        let layers = image.layers.into_iter().zip(diff_ids).map(|(member, diff_id)| LayerBlob {
            diff_id,
            blob: None,
            media_type: None,
            member: Some(member),
        });
        let layers = layers.collect();
        Ok(Self { source, manifest_digest: None, config, layers })
    }
}

/// An image in the `manifest.json` of `docker save`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// `docker save` names the config by its digest, `<hex>.json` or `blobs/sha256/<hex>`; other tools may not.
fn digest_in_name(name: &str) -> Option<Digest> {
    let hex = name.strip_prefix("blobs/sha256/").or(name.strip_suffix(".json"))?;
    format!("sha256:{hex}").parse().ok()
}

fn check_layout_version(source: &dyn Source, limits: &Limits) -> Result<(), Error> {
    let document = document(source, "oci-layout", limits)?;
    let value: Value = serde_json::from_slice(&document)
        .map_err(|error| Error::Document { what: "oci-layout".to_owned(), why: error.to_string() })?;
    match value.get("imageLayoutVersion").and_then(Value::as_str) {
        Some("1.0.0") => Ok(()),
        version => Err(Error::Document {
            what: "oci-layout".to_owned(),
            why: format!("its version is {version:?}, not 1.0.0"),
        }),
    }
}

/// A document that is manifest and index at once means different things to different tools (CVE-2021-41190).
pub(crate) fn refuse_ambiguous(name: &str, document: &[u8]) -> Result<(), Error> {
    let refuse = |why: String| Err(Error::Document { what: name.to_owned(), why });
    let value: Value = match serde_json::from_slice(document) {
        Ok(value) => value,
        Err(error) => return refuse(error.to_string()),
    };
    if value.get("manifests").is_some() && (value.get("layers").is_some() || value.get("config").is_some()) {
        return refuse("it is a manifest and an index at once".to_owned());
    }
    Ok(())
}

fn read_manifest(digest: &Digest, document: &[u8]) -> Result<ImageManifest, Error> {
    let what = format!("manifest {digest}");
    refuse_ambiguous(&what, document)?;
    let invalid = |why: String| Error::Document { what: what.clone(), why };
    let manifest: ImageManifest = serde_json::from_slice(document).map_err(|error| invalid(error.to_string()))?;
    if manifest.schema_version() != 2 {
        return Err(invalid(format!("its schema version is {}, not 2", manifest.schema_version())));
    }
    let config = manifest.config().media_type().as_ref().to_owned();
    let known = ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
    if !known.contains(&config.as_str()) || manifest.artifact_type().is_some() {
        let kind = manifest.artifact_type().as_ref().map_or(config, |kind| kind.as_ref().to_owned());
        return Err(Error::Unsupported {
            what,
            why: format!("it is not a container image but an artifact of type '{kind}'"),
        });
    }
    Ok(manifest)
}

fn layer(descriptor: &Descriptor, diff_id: Digest) -> Result<LayerBlob, Error> {
    let media_type = descriptor.media_type().as_ref().to_owned();
    let unsupported =
        |why: &str| Error::Unsupported { what: format!("layer of type '{media_type}'"), why: why.to_owned() };
    if media_type.contains("encrypted") {
        return Err(unsupported("it is encrypted; decrypt the image first"));
    }
    if media_type.contains("foreign") || media_type.contains("nondistributable") || descriptor.urls().is_some() {
        return Err(unsupported(
            "it has to be fetched from somewhere else, which is not done; use an image that holds its layers",
        ));
    }
    if !media_type.contains("image.layer.") && !media_type.contains("image.rootfs.diff.tar") {
        return Err(unsupported("it is not a file system layer"));
    }
    let blob = Some((Digest::of_descriptor(descriptor)?, descriptor.size()));
    Ok(LayerBlob { diff_id, blob, media_type: Some(media_type), member: None })
}

fn diff_ids(config: &[u8], limits: &Limits) -> Result<Vec<Digest>, Error> {
    #[derive(Deserialize)]
    struct Config {
        rootfs: RootFs,
    }
    #[derive(Deserialize)]
    struct RootFs {
        #[serde(rename = "type")]
        kind: String,
        diff_ids: Vec<Digest>,
    }
    let invalid = |why: String| Error::Document { what: "image config".to_owned(), why };
    let config: Config = serde_json::from_slice(config).map_err(|error| invalid(error.to_string()))?;
    if config.rootfs.kind != "layers" {
        return Err(invalid(format!("its rootfs is of type '{}', not 'layers'", config.rootfs.kind)));
    }
    if config.rootfs.diff_ids.len() > limits.layers {
        let max = u64::try_from(limits.layers).unwrap_or(u64::MAX);
        return Err(Error::Limit { what: "the number of layers".to_owned(), max });
    }
    Ok(config.rootfs.diff_ids)
}
