//! Drydock inside another program: `embed DOCKERFILE BASE-NAME BASE-PLACE STATE-DIR OUTPUT` does what `drydock build` does.
use std::io::Write;
use std::path::Path;

use drydock::{Base, Cancel, Log, Request};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dockerfile, name, place, state, output] = arguments.as_slice() else {
        return Err("five arguments are needed".into());
    };
    let (text, bases) = (std::fs::read(dockerfile)?, [Base { name: name.clone(), place: place.parse()? }]);
    let mut request = Request::new(&text, &bases, Path::new(output));
    request.state = Path::new(state);
    let mut log = Log::default();
    let built = drydock::build(&request, &Cancel::default(), &mut |event| {
        log.event(&event, &mut |_, bytes| drop(std::io::stderr().write_all(bytes)));
    })?;
    Ok(writeln!(std::io::stdout(), "{output} sha256:{} image {}", built.digest, built.id)?)
}
