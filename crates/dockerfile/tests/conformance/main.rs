//! The reference's answers, row by row and level by level.
//!
//! Reads every row of `edge.jsonl.gz` and `real.jsonl.gz`, and the files of `buildkit-positive` and `buildkit-negative`, and compares
//! what this crate says with what BuildKit said. Prints a table of agreement a level and fails on every disagreement that is not in
//! `differences.txt`; an entry there that is no longer needed fails as well.

mod ast;
mod buildkit_files;
mod convert;
mod differences;
mod instructions;
mod lint;
mod rows;
mod verdict;

use differences::Differences;
use rows::Row;

/// Says how a row differs from the reference at one level; `Ok(false)` when the level has nothing to compare.
type Compare = fn(&Row) -> Result<bool, String>;

/// The levels, from coarse to fine.
const LEVELS: &[(&str, Compare)] = &[
    ("verdict", verdict::compare),
    ("message", verdict::compare_message),
    ("ast", ast::compare),
    ("warnings", ast::compare_warnings),
    ("instructions", instructions::compare),
    ("lint", lint::compare),
    ("strict", verdict::compare_strict),
    ("print", ast::compare_print),
    ("spans", ast::compare_spans),
    ("convert", convert::compare_verdict),
    ("error lines", convert::compare_error_lines),
    ("config", convert::compare_config),
    ("history", convert::compare_history),
    ("ops", convert::compare_ops),
    ("limits", convert::compare_limits),
];

#[test]
fn every_row_agrees_with_the_reference() {
    let Some(rows) = rows::all() else { return };
    let mut differences = Differences::load();
    let mut failures = Vec::new();
    let mut table = String::new();
    for (level, compare) in LEVELS {
        let (mut agree, mut listed, mut compared) = (0_u32, 0, 0_u32);
        for row in &rows {
            match compare(row) {
                Ok(counts) => (agree, compared) = (agree + u32::from(counts), compared + u32::from(counts)),
                Err(_) if differences.lists(&row.name, level) => (listed, compared) = (listed + 1, compared + 1),
                Err(how) => {
                    compared += 1;
                    failures.push(format!("{level}: {}: {how}", row.name));
                }
            }
        }
        let percent = 100.0 * f64::from(agree) / f64::from(compared.max(1));
        table += &format!("{level:<14} {agree:>5} of {compared:>5} agree ({percent:6.2} %), {listed} listed\n");
    }
    rows::report(&table);
    failures.extend(differences.unused());
    let shown: Vec<_> = failures.iter().take(40).map(String::as_str).collect();
    assert!(failures.is_empty(), "{} disagreements:\n{}", failures.len(), shown.join("\n"));
}
