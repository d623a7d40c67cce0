use std::io::Read;
fn main() {
    let mut counts = std::collections::BTreeMap::new();
    for file in ["real", "edge"] {
        let f = std::fs::File::open(format!("/work/shared/corpora/dockerfile/{file}.jsonl.gz")).unwrap();
        let mut s = String::new();
        flate2::read::GzDecoder::new(f).read_to_string(&mut s).unwrap();
        for line in s.lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let Some(src) = row["source"].as_str() else { continue };
            let p = dockerfile::parse(src, dockerfile::Mode::Strict);
            let t = dockerfile::instruction::read(&p.dockerfile);
            for d in p.diagnostics.iter().chain(&t.diagnostics) {
                let e = counts.entry((file, d.code.name(), d.is_error())).or_insert(0);
                *e += 1;
                if *e < std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(4) {
                    let text = d.span.of(src);
                    println!(
                        "{file} {} {:?} {}: {:?} | {} | {:?} | {:?}",
                        row["name"].as_str().unwrap(),
                        d.severity,
                        d.code,
                        text.chars().take(60).collect::<String>(),
                        d.message,
                        d.help,
                        d.fix
                    );
                }
            }
        }
    }
    println!("{counts:#?}");
}
