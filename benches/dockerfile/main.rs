//! Dockerfiles: every stage over the file of middle size, over real files, and over files that are made to be slow.
//!
//! `all` is parse, instructions, convert, policy and lints in strict mode, `syntax` is parse and instructions alone, and
//! `parse-dockerfile` is the fastest parser there is, which does a part of `syntax`. The real files are those of
//! `DRYDOCK_SHARED`; where that is not set, only the file kept here is measured.

mod nasty;

use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dockerfile::analysis::{AnalysisOptions, analyze};
use dockerfile::policy::Policy;
use dockerfile::source::Source;
use dockerfile::{Mode, instruction, parse};

/// 1.3 KB, as the real file of middle size.
const MIDDLE: &str = include_str!("middle.Dockerfile");

fn all(text: &str, options: &AnalysisOptions) -> usize {
    analyze(&Source::decode(text.as_bytes()), options).diagnostics.len()
}

fn syntax(text: &str) -> usize {
    let parsed = parse(text, Mode::Strict);
    instruction::read(&parsed.dockerfile).instructions.stages.len()
}

/// Files that it refuses it does not read to the end.
fn peer(text: &str) -> usize {
    parse_dockerfile::parse(text).map_or(0, |read| read.instructions.len())
}

fn strict(policy: Option<Policy>) -> AnalysisOptions {
    AnalysisOptions { mode: Mode::Strict, policy, ..AnalysisOptions::default() }
}

fn bytes(texts: &[String]) -> Throughput {
    let all: usize = texts.iter().map(String::len).sum();
    Throughput::Bytes(u64::try_from(all).expect("usize fits in u64"))
}

fn compare(criterion: &mut Criterion, name: &str, texts: &[String]) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(bytes(texts));
    let (free, restricted) = (strict(None), strict(Some(Policy::default())));
    let each = |look: &dyn Fn(&str) -> usize| texts.iter().map(|text| look(black_box(text))).sum::<usize>();
    group.bench_function("all", |bencher| bencher.iter(|| each(&|text| all(text, &free))));
    group.bench_function("all-with-policy", |bencher| bencher.iter(|| each(&|text| all(text, &restricted))));
    group.bench_function("syntax", |bencher| bencher.iter(|| each(&syntax)));
    group.bench_function("parse-dockerfile", |bencher| bencher.iter(|| each(&peer)));
    group.finish();
}

fn middle(criterion: &mut Criterion) {
    compare(criterion, "middle", &[MIDDLE.to_owned()]);
}

#[expect(clippy::print_stderr, reason = "a bench that is left out must be seen to be")]
fn real(criterion: &mut Criterion) {
    let Some(shared) = std::env::var_os("DRYDOCK_SHARED") else {
        eprintln!("SKIPPED real: DRYDOCK_SHARED, the folder of the shared corpora, is not set");
        return;
    };
    let path = PathBuf::from(shared).join("corpora/dockerfile/real.jsonl.gz");
    let file = std::fs::File::open(&path).expect("the corpus of real files");
    let rows = BufReader::new(flate2::read::MultiGzDecoder::new(file)).lines();
    let texts = rows.filter_map(|row| {
        let row: serde_json::Value = serde_json::from_str(&row.expect("a line")).expect("a JSON object");
        row.get("source").and_then(|text| text.as_str()).map(str::to_owned)
    });
    compare(criterion, "real", &texts.collect::<Vec<_>>());
}

fn nasty(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("nasty-64KiB");
    group.sample_size(20);
    for (name, text) in nasty::files() {
        group.throughput(bytes(std::slice::from_ref(&text)));
        for (kind, mode) in [("strict", Mode::Strict), ("buildkit", Mode::BuildKit)] {
            let options = AnalysisOptions { mode, ..AnalysisOptions::default() };
            group.bench_function(BenchmarkId::new(kind, name), |bencher| {
                bencher.iter(|| all(black_box(&text), &options))
            });
        }
    }
    group.finish();
}

criterion_group!(benches, middle, real, nasty);
criterion_main!(benches);
