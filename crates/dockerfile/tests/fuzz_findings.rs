//! What fuzzing found, each once more.
#![cfg(test)]

use dockerfile::source::Source;
use dockerfile::{Mode, instruction, parse_source};

/// Parses, types and prints `bytes` in both modes; every place lies inside the text on character borders.
fn look(bytes: &[u8]) {
    let source = Source::decode(bytes);
    for mode in [Mode::BuildKit, Mode::Strict] {
        let parsed = parse_source(&source, mode);
        assert_eq!(parsed.dockerfile.print(), source.text());
        let typed = instruction::read(&parsed.dockerfile);
        let places = parsed.diagnostics.iter().chain(&typed.diagnostics).flat_map(|one| {
            let labels = one.labels.iter().map(|label| label.span);
            [one.span].into_iter().chain(labels).chain(one.fix.iter().map(|edit| edit.span))
        });
        let words = parsed.dockerfile.instructions.iter().flat_map(|one| one.flags.iter().chain(&one.args));
        for span in places.chain(words.map(|word| word.span)) {
            assert!(source.text().get(span.range()).is_some(), "{span:?}");
        }
    }
}

/// A flag that ends inside a character, at a byte 0xA0, followed by words: they were cut out of the wrong text.
#[test]
fn words_after_a_flag_that_ends_inside_a_character() {
    look("COPY --chmod-r\u{282a}\u{fffd}\u{fffd} w $X<<EOF /a\nEOF".as_bytes());
    look(b"COPY --chmod-r\xba\xe2\xa0\xaa\xba\xbaFEED\xba\0\0Y\xba\xbawx $X<<EOF /a\nEOF");
    look("RUN --a=\u{e0} [\"a\", 1]".as_bytes());
    look("FROM a\nVOLUME --a=\u{e0}[1] b\n".as_bytes());
    let parsed = dockerfile::parse("FROM a\nCOPY --chown=\u{e0} a b\n", Mode::BuildKit);
    let copy = &parsed.dockerfile.instructions[1];
    let args: Vec<&str> = copy.args.iter().map(|arg| arg.as_str()).collect();
    assert_eq!(args, ["a", "b"]);
}
