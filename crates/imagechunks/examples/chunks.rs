//! Prints the chunks of an image, one a line: SHA-256, bytes, bytes compressed. `benches/shared-chunks` compares images by it.
//!
//! `cargo run --release -p imagechunks --example chunks -- KIB IMAGE`: chunks of so many KiB in the mean.
#![expect(clippy::print_stdout, reason = "the lines are the result")]

use std::error::Error;
use std::fs::File;
use std::io;

use imagechunks::{Chunk, Digest, PackOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [kib, image] = args.as_slice() else { return Err("usage: chunks KIB IMAGE".into()) };
    let options = PackOptions { chunk_bytes: kib.parse::<u32>()? << 10, ..PackOptions::default() };
    // What the whole is does not matter here: nobody fetches it.
    let digest = Digest::of(&[]);
    let (manifest, _) = imagechunks::pack(&File::open(image)?, digest, &[], "all", &mut io::sink(), &options)?;
    for Chunk { digest, len, bytes, .. } in manifest.chunks() {
        println!("{digest} {len} {bytes}");
    }
    Ok(())
}
