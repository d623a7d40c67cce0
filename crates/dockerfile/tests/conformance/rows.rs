//! The rows of the corpus.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;

use flate2::read::GzDecoder;
use serde_json::Value;

/// A Dockerfile and the reference's answers.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) source: Vec<u8>,
    pub(crate) reference: Value,
}

/// The corpus folder; `None`, said aloud, when its place is not known.
pub(crate) fn corpus() -> Option<PathBuf> {
    match std::env::var_os("DRYDOCK_SHARED") {
        Some(shared) => Some(PathBuf::from(shared).join("corpora/dockerfile")),
        None if std::env::var_os("DRYDOCK_REQUIRE_ALL").is_some_and(|all| all == "1") => {
            panic!("DRYDOCK_REQUIRE_ALL is set but DRYDOCK_SHARED is not")
        }
        None => {
            report("SKIPPED: conformance with the reference: DRYDOCK_SHARED is not set\n");
            None
        }
    }
}

/// Writes past the test harness's capture, so that a skip or a table is always seen.
pub(crate) fn report(text: &str) {
    let _written = std::io::stderr().write_all(text.as_bytes());
}

/// All rows.
pub(crate) fn all() -> Option<Vec<Row>> {
    let corpus = corpus()?;
    let files = ["edge.jsonl.gz", "real.jsonl.gz"];
    Some(files.iter().flat_map(|name| read(&corpus.join(name))).collect())
}

fn read(path: &std::path::Path) -> Vec<Row> {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = BufReader::new(GzDecoder::new(file)).lines();
    lines.map(|line| row(&line.expect("the corpus is gzip of UTF-8 lines"))).collect()
}

fn row(line: &str) -> Row {
    let mut row: Value = serde_json::from_str(line).expect("a row is a JSON object");
    let source = match (&row["source"], &row["source_base64"]) {
        (Value::String(text), _) => text.clone().into_bytes(),
        (_, Value::String(encoded)) => base64(encoded),
        _ => panic!("row {} has no source", row["name"]),
    };
    let name = row["name"].as_str().expect("a row has a name").to_owned();
    Row { name, source, reference: row["reference"].take() }
}

fn base64(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => panic!("not base64: {text}"),
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 0xFF).expect("eight bits"));
        }
    }
    bytes
}
