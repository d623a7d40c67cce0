//! The config of an image as JSON: read from the base, written for the result (OCI image specification, config.md).

use buildengine::Built;
use buildengine::plan::Plan;
use dockerfile::config::ImageConfig;
use ocilayers::Digest;
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
pub(crate) fn of_result(base: &[u8], plan: &Plan, built: &Built, epoch: Option<i64>) -> Value {
    let mut document: Value = serde_json::from_slice(base).expect("read before");
    document["config"] = serde_json::to_value(&plan.config).expect("a config has string keys");
    if !plan.author.is_empty() {
        document["author"] = json!(plan.author);
    }
    let diff_ids: Vec<String> = built.layers.iter().map(|layer| layer.diff_id().to_string()).collect();
    document["rootfs"] = json!({ "type": "layers", "diff_ids": diff_ids });
    let created = epoch.map(ocilayers::rfc3339);
    let mut history = history_of_base(&document, built.layers.len() - built.added.iter().sum::<usize>());
    // The first step is FROM.
    for (step, &added) in plan.steps.iter().zip(&built.added).skip(1) {
        let mut entry = json!({ "created_by": step.text, "comment": "drydock" });
        if let Some(created) = &created {
            entry["created"] = json!(created);
        }
        if added == 0 {
            entry["empty_layer"] = json!(true);
        }
        history.extend(std::iter::repeat_n(entry, added.max(1)));
    }
    document["history"] = json!(history);
    if let Some(created) = created {
        document["created"] = json!(created);
    }
    document
}

/// The history of the base: its own where it tells of each of its `layers`, as tools expect; else one line a layer.
fn history_of_base(document: &Value, layers: usize) -> Vec<Value> {
    let own = document["history"].as_array().cloned().unwrap_or_default();
    let told = own.iter().filter(|entry| entry["empty_layer"] != json!(true)).count();
    if told == layers { own } else { vec![json!({ "comment": "a layer of the base image" }); layers] }
}

/// The identity of an image: the digest of its config, 64 hexadecimal digits.
pub(crate) fn id(config: &Value) -> String {
    Digest::of(&serde_json::to_vec(config).expect("a config has string keys")).hex()
}
