//! Invariants, for any bytes taken for a Dockerfile:
//!
//! - what strict mode accepts, with the restrictions of the service or without, BuildKit mode accepts, and makes the same of
//!   it: base, config, history, operations;
//! - what is accepted with restrictions is accepted without, has one base, and that base is on the allowlist;
//! - analysing never panics, and what it makes is bounded: by the caps of `Limits`, whatever the file says.
#![no_main]

use dockerfile::Mode;
use dockerfile::analysis::{Analysis, AnalysisOptions, analyze};
use dockerfile::config::ImageConfig;
use dockerfile::convert::Conversion;
use dockerfile::policy::Policy;
use dockerfile::reference::Reference;
use dockerfile::source::Source;
use libfuzzer_sys::fuzz_target;

/// The bases that are allowed; those that the seeds name most.
const BASES: [&str; 5] = ["debian:12", "debian", "alpine", "ubuntu", "nodeops/sandbox:debian"];

fuzz_target!(|bytes: &[u8]| {
    let source = Source::decode(bytes);
    let strict = analyze(&source, &options(Mode::Strict, None));
    bounded(&strict, bytes.len());
    let restricted = analyze(&source, &options(Mode::Strict, Some(policy())));
    if restricted.accepted() {
        assert!(strict.accepted(), "restrictions accept what strict mode refuses");
        let base = restricted.conversion.base.as_deref().expect("one base");
        let allowed = |name: &&str| Reference::parse(name).expect("a reference").normalized() == base;
        assert!(BASES.iter().any(|name| allowed(&name)), "{base} is not on the allowlist");
    }
    if strict.accepted() {
        let buildkit = analyze(&source, &options(Mode::BuildKit, None));
        assert!(buildkit.accepted(), "BuildKit refuses it: {:?}", buildkit.diagnostics.first());
        assert_eq!(
            json(&strict.conversion),
            json(&buildkit.conversion),
            "strict and BuildKit mode make different things"
        );
        // A file that is refused for its size is not converted at all.
        if restricted.accepted() {
            assert_eq!(json(&strict.conversion), json(&restricted.conversion), "restrictions change what is made");
        }
    }
});

fn options(mode: Mode, policy: Option<Policy>) -> AnalysisOptions {
    let base = ImageConfig { env: vec!["PATH=/usr/bin:/bin".to_owned()], ..ImageConfig::default() };
    AnalysisOptions { mode, policy, base_config: Some(base), ..AnalysisOptions::default() }
}

fn policy() -> Policy {
    let allowed_bases = BASES.map(|base| Reference::parse(base).expect("a reference")).into();
    Policy { allowed_bases, ..Policy::default() }
}

fn json(conversion: &Conversion) -> String {
    serde_json::to_string(conversion).expect("serialises")
}

fn bounded(analysis: &Analysis<'_>, len: usize) {
    let limits = dockerfile::limits::Limits::default();
    let conversion = &analysis.conversion;
    assert!(conversion.ops.len() <= limits.ops_max, "{} operations", conversion.ops.len());
    let env: usize = conversion.config.env.iter().map(String::len).sum();
    assert!(env <= limits.expanded_bytes_max + len + 256, "{env} bytes of environment");
    assert!(analysis.diagnostics.len() <= 16 * len + 64, "{} problems in {len} bytes", analysis.diagnostics.len());
}
