//! Every case of `semantics` gives exactly the tree that its `expect.json` states, or is one of the refusals listed here.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use fstree::{Tree, dump, walk};
use ocilayers::{Digest, Image, ImageRef, Limits, Store, flatten};
use serde_json::json;

use crate::raw::raw;
use crate::shared::{cases, corpus, differs, tree, whole};

/// Cases that are refused where `expect.json` allows that, a part of the message, and the reason.
const REFUSED: [(&str, &str, &str); 5] = [
    ("dotdot-escape", "'..' component", "no builder writes '..'; tools that take it disagree on where it leads"),
    ("dotdot-inside", "'..' component", "the same, also where it happens to stay inside"),
    ("hl-target-wh-same-layer", "does not exist", "removals come before additions, so that their order can't matter"),
    ("socket-skipped", "not a kind of file", "what can't be represented is refused, never left out in silence"),
    (
        "symlink-dangling-parent",
        "symbolic link to nothing",
        "making the target would be a guess that tools disagree on",
    ),
];

#[test]
fn every_case_gives_its_tree() {
    let Some(corpus) = corpus("semantics") else { return };
    let mut wrong = Vec::new();
    let cases = cases(&corpus);
    assert!(!cases.is_empty(), "the corpus is empty");
    for (name, dir) in &cases {
        wrong.extend(check(name, dir).into_iter().map(|what| format!("{name}: {what}")));
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

fn check(name: &str, dir: &Path) -> Vec<String> {
    let refusal = REFUSED.iter().find(|(case, ..)| *case == name);
    let (one, many) = (tree(dir, 1), tree(dir, 4));
    match (one, many, refusal) {
        (Ok(one), Ok(many), None) => {
            let mut wrong = compare(&one, &expected(dir));
            if dump(&one) != dump(&many) {
                wrong.push("one thread and four give different trees".to_owned());
            }
            wrong
        }
        (Err(one), Err(many), Some((_, part, _))) => {
            let (one, many) = (whole(&one), whole(&many));
            if one.contains(part) && one == many { vec![] } else { vec![format!("refused with '{one}' and '{many}'")] }
        }
        (Ok(_), _, Some(_)) => vec!["is accepted, and listed as refused".to_owned()],
        (Err(error), ..) | (_, Err(error), _) => vec![format!("refused: {}", whole(&error))],
    }
}

/// Nothing missing, nothing different, nothing beside it.
fn compare(tree: &Tree, expected: &BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<String> {
    let mut wrong: Vec<String> = expected
        .iter()
        .filter_map(|(path, text)| Some(format!("'{}': {}", path.escape_ascii(), differs(tree, path, text)?)))
        .collect();
    let done: Result<(), std::convert::Infallible> = walk(tree, |visit| {
        if !visit.path.is_empty() && !expected.contains_key(visit.path) {
            wrong.push(format!("'{}' should not be there", visit.path.escape_ascii()));
        }
        Ok(())
    });
    done.map_or_else(|never| match never {}, |()| wrong)
}

fn expected(dir: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let text = fs::read_to_string(dir.join("expect.json")).unwrap();
    let value: serde_json::Value = serde_json::from_str(&escape_bytes(&text)).unwrap();
    let entries = value["expect"].as_object().unwrap();
    entries.iter().map(|(path, text)| (unescape_bytes(path), unescape_bytes(text.as_str().unwrap()))).collect()
}

/// The corpus writes a byte that is no UTF-8 as half of a surrogate pair (`\udc80` to `\udcff`), which is no JSON string:
/// the private characters U+F780 to U+F7FF stand for them here.
fn escape_bytes(json: &str) -> String {
    let mut parts = json.split("\\udc");
    let mut escaped = parts.next().unwrap().to_owned();
    for part in parts {
        let before = escaped.len().checked_sub(6).and_then(|at| escaped.get(at..)).unwrap_or_default();
        let is_pair = ["\\ud8", "\\ud9", "\\uda", "\\udb"].iter().any(|high| before.starts_with(high));
        escaped += if is_pair { "\\udc" } else { "\\uf7" };
        escaped += part;
    }
    escaped
}

fn unescape_bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for letter in text.chars() {
        match u32::from(letter) {
            private @ 0xf780..=0xf7ff => bytes.push(u8::try_from(private - 0xf700).unwrap()),
            _ => bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

#[test]
fn an_archive_is_the_file_that_was_opened() {
    let dir = tempfile::tempdir().unwrap();
    let layer = raw().file("f", "x").end();
    let config = json!({ "rootfs": { "type": "layers", "diff_ids": [Digest::of(&layer).to_string()] } }).to_string();
    let names = json!([{ "Config": "config", "RepoTags": null, "Layers": ["layer.tar"] }]).to_string();
    let archive = raw().file("manifest.json", &names).file("config", &config);
    let archive = archive.with(b'0', b"layer.tar", "", &layer, |_| ()).end();
    let file = dir.path().join("archive.tar");
    fs::write(&file, archive).unwrap();
    let limits = Limits::default();
    let image = Image::open(&ImageRef::DockerArchive { file: file.clone(), name: None }, &limits).unwrap();
    // Who renames another to its name does not change what was opened.
    fs::remove_file(&file).unwrap();
    fs::write(&file, "another").unwrap();
    let layers = Store::open(&dir.path().join("store"), limits).unwrap().layers(&image, None).unwrap();
    assert_eq!(differs(&flatten(&layers, &limits).unwrap(), b"f", b"f:x"), None);
}
