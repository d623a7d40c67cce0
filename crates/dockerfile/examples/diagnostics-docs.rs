//! Writes `docs/diagnostics/` from the table of codes: `cargo run -p dockerfile --example diagnostics-docs`.

use std::error::Error;
use std::fs;
use std::path::Path;

use dockerfile::diagnostic::Code;
use dockerfile::render::page;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/diagnostics");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("README.md"), page::index())?;
    for &code in Code::ALL {
        fs::write(folder.join(format!("{code}.md")), page::page(code))?;
    }
    Ok(())
}
