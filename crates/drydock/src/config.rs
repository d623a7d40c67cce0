//! The config of an image as JSON: read from the base, written for the result (OCI image specification, config.md).

use buildengine::plan::Plan;
use dockerfile::config::ImageConfig;
use ocilayers::{Digest, Layer};
use serde_json::{Value, json};

use crate::error::Error;
use crate::request::Base;

/// The `config` object of a base image.
pub(crate) fn of_base(base: &Base, json: &[u8]) -> Result<ImageConfig, Error> {
    let wrong = |source| Error::BaseConfig { base: base.name.clone(), source };
    let document: Value = serde_json::from_slice(json).map_err(wrong)?;
    match document.get("config") {
        None | Some(Value::Null) => Ok(ImageConfig::default()),
        Some(config) => serde_json::from_value(config.clone()).map_err(wrong),
    }
}

/// The diff_ids of a base image, lowest first; none where the document says nothing of them.
pub(crate) fn diff_ids(json: &[u8]) -> Vec<String> {
    let document: Value = serde_json::from_slice(json).unwrap_or_default();
    let list = document["rootfs"]["diff_ids"].as_array();
    list.into_iter().flatten().filter_map(|diff_id| diff_id.as_str().map(str::to_owned)).collect()
}

/// The document of the result: that of the base with the new config, layers and history.
///
/// # Panics
/// When the document of the base is not JSON, which [`of_base`] has seen.
pub(crate) fn of_result(base: &[u8], plan: &Plan, layers: &[Layer], epoch: Option<i64>) -> Value {
    let mut document: Value = serde_json::from_slice(base).expect("read before");
    document["config"] = serde_json::to_value(&plan.config).expect("a config has string keys");
    let diff_ids: Vec<String> = layers.iter().map(|layer| layer.diff_id().to_string()).collect();
    document["rootfs"] = json!({ "type": "layers", "diff_ids": diff_ids });
    // The history of the base no longer fits its layers one by one; what was added is told by the steps.
    let steps = plan.steps.iter().skip(1).map(|step| json!({ "created_by": step.text, "comment": "drydock" }));
    document["history"] = steps.collect();
    if let Some(epoch) = epoch {
        document["created"] = json!(ocilayers::rfc3339(epoch));
    }
    document
}

/// The identity of an image: the digest of its config, 64 hexadecimal digits.
pub(crate) fn id(config: &Value) -> String {
    Digest::of(&serde_json::to_vec(config).expect("a config has string keys")).hex()
}
