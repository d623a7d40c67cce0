//! What an image is made of, as one hash.

use ocilayers::Digest;

use crate::request::Request;

/// A hash over all that decides what the image holds, each part with its length. `base_id` is the digest of the base's config.
pub(crate) fn of(request: &Request<'_>, base_id: &str) -> String {
    let size = format!("{:?}", request.size);
    let epoch = format!("{:?}", request.epoch);
    let mut parts: Vec<&[u8]> = vec![env!("CARGO_PKG_VERSION").as_bytes(), base_id.as_bytes(), request.dockerfile];
    parts.extend([size.as_bytes(), epoch.as_bytes()]);
    for (name, value) in &request.build_args {
        parts.extend([name.as_bytes(), value.as_bytes()]);
    }
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&u64::try_from(part.len()).expect("usize fits in u64").to_le_bytes());
        bytes.extend_from_slice(part);
    }
    Digest::of(&bytes).hex()
}
