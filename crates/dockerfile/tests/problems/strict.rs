//! The strict subset: each quirk is refused with its own code, and BuildKit's own rules take the same text.

use dockerfile::limits::{FLAGS_MAX, INSTRUCTIONS_MAX, WORDS_MAX};

use super::{buildkit_refuses, places, problems};

/// Text, and the errors the strict mode finds in it. BuildKit accepts all of them.
const QUIRKS: &[(&str, &[&str])] = &[
    ("FROM a\nRUN echo \0\n", &["2:nul-byte"]),
    ("FROM a\nRUN echo \u{202E}x\n", &["2:bidi-control"]),
    ("FROM a\n# \u{2066}x\nRUN echo\n", &["2:bidi-control"]),
    ("FROM a\nWORKDIR /\u{FEFF}a\n", &["2:byte-order-mark"]),
    ("FROM a\nRUN a\rb\n", &["2:carriage-return"]),
    ("FROM a\nWOR\u{212A}DIR /a\n", &["2:non-ascii-keyword"]),
    ("FROM a a\u{17F} b\n", &["1:non-ascii-keyword"]),
    ("FROM a\nRUN --mount=type=tmpfs,target=/\u{e9} x\n", &["2:non-ascii-flag"]),
    ("FROM a\nENV A=1\u{a0}B=2\n", &["2:non-ascii-space"]),
    ("\u{3000}FROM a\n", &["1:non-ascii-space"]),
    ("FROM a\nCMD ['a', 'b']\n", &["2:json-fallback"]),
    ("FROM a\nCMD [\"a\" \"b\"]\n", &["2:json-fallback"]),
    ("FROM a\nCMD [ \"a\", \"b\", ]\n", &["2:json-fallback"]),
    ("FROM a\nCMD [\"a\"] # c\n", &["2:json-fallback"]),
    ("FROM a\nHEALTHCHECK CMD ['a']\n", &["2:json-fallback"]),
    ("FROM a\nENTRYPOINT [a, b]\n", &["2:json-fallback"]),
    ("FROM a\nVOLUME ['/a']\n", &["2:json-fallback"]),
    ("FROM a\nONBUILD CMD ['a']\n", &["2:json-fallback"]),
    ("FROM a\nRUN\n", &["2:empty-run"]),
    ("FROM a\nARG --x A=1\n", &["2:ignored-flag"]),
    ("FROM a\nSTOPSIGNAL --x 9\n", &["2:ignored-flag"]),
    ("FROM a\nHEALTHCHECK --interval=1s NONE\n", &["2:ignored-flag"]),
    ("FROM a\nENV $X=1\n", &["2:variable-name"]),
    ("FROM a\nARG A:B=1\n", &["2:variable-name"]),
    ("FROM a\nRUN a \\\n\nRUN b\n", &["4:empty-continuation"]),
    ("FROM a\nRUN a \\\n", &["2:trailing-continuation"]),
    ("FROM a\nRUN cat <<- EOF\n# x\n", &[]),
    ("FROM a\nRUN echo it's <<EOF\nRUN x\n# EOF\n", &[]),
    ("FROM a\nRUN echo $(( 1 <<2 ))\n2\n", &["2:heredoc-in-arithmetic"]),
    ("FROM a\n# escape=`\nRUN x\n", &["2:directive-ignored"]),
    ("FROM a\nWORKDIR /a/../b\n", &["2:ambiguous-workdir"]),
    ("FROM a\nWORKDIR /a//b\n", &["2:ambiguous-workdir"]),
    ("FROM a\nEXPOSE 80${X:-81}\n", &["2:expose-substitution"]),
    ("FROM a\nWORKDIR /a # b\n", &["2:trailing-comment"]),
    ("FROM a\nUSER a # b\n", &["2:trailing-comment"]),
    ("FROM a\nENV A b # c\n", &["2:trailing-comment"]),
    ("FROM a\nARG A=1 # c\n", &["2:trailing-comment"]),
    ("FROM a\nVOLUME /a # b\n", &["2:trailing-comment"]),
    ("FROM a\nONBUILD FOO x\n", &["2:invalid-trigger"]),
];

#[test]
fn each_quirk_has_its_own_error() {
    for (text, want) in QUIRKS {
        assert!(!buildkit_refuses(text.as_bytes()), "BuildKit takes it: {text:?}");
        assert_eq!(places(text), *want, "{text:?}");
    }
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let found = problems(b"FROM a\nRUN echo \xFF\xFE\n");
    let codes: Vec<_> = found.iter().map(|one| one.code.name()).collect();
    assert_eq!(codes, ["invalid-utf8"]);
    assert!(found[0].message.contains("0xFF") && found[0].message.contains("1 other"), "{}", found[0].message);
}

/// What people write and mean is left alone.
#[test]
fn what_is_meant_is_accepted() {
    for text in [
        "FROM a\nRUN [ -f x ] && y\n",
        "FROM a\nRUN [ \"$a\" = b ] || exit 1\n",
        "FROM a\nRUN [[ -n $a ]] && y\n",
        "FROM a\nCOPY [a-c]*.txt /x/\n",
        "FROM a\nWORKDIR /app/\n",
        "FROM a\nWORKDIR /\n",
        "FROM a\nENV \"A\"=\"b\"\n",
        "FROM a\nENV A=\"b # c\"\n",
        "FROM a\nRUN echo \u{e9}\u{4e2d} # tail\n",
        "FROM a\nEXPOSE ${PORT:-80} 1${X}\n",
        "FROM a\nRUN a \\\n\n  b\n",
        "FROM a\nRUN <<EOF\nRUN is no instruction here\nEOF\n",
        "FROM a\nRUN cat <<-'A B' x\n\tEOF\n\tA B\n",
        "FROM a\r\nRUN b \\\r\n  c\r\n",
        "\u{FEFF}FROM a\n",
        "# syntax=docker/dockerfile:1\n# escape=`\nFROM a\nRUN b `\n  c\n",
        "FROM a\n# check=skip=all\nRUN b\n",
    ] {
        assert_eq!(places(text), [""; 0], "{text:?}");
    }
}

#[test]
fn a_file_is_read_to_the_limits_and_no_further() {
    let instructions = |count: usize| format!("FROM a\n{}", "RUN b\n".repeat(count - 1));
    let words = |count: usize| format!("FROM a\nCOPY{}\n", " b".repeat(count));
    let flags = |count: usize| format!("FROM a\nRUN{} b\n", " --mount=type=tmpfs,target=/t".repeat(count));
    let heredocs = |count: usize| format!("FROM a\nRUN{}\n{}", " <<E".repeat(count), "E\n".repeat(count));
    for (fits, over) in [
        (instructions(INSTRUCTIONS_MAX), instructions(INSTRUCTIONS_MAX + 1) + "RUM x\n"),
        (words(WORDS_MAX), words(WORDS_MAX + 1) + "RUM x\n"),
        (flags(FLAGS_MAX), flags(FLAGS_MAX + 1) + "RUM x\n"),
        (heredocs(FLAGS_MAX), heredocs(FLAGS_MAX + 1) + "RUM x\n"),
    ] {
        assert_eq!(places(&fits), Vec::<String>::new());
        let line = if over.starts_with("FROM a\nRUN b") { INSTRUCTIONS_MAX + 1 } else { 2 };
        assert_eq!(places(&over), [format!("{line}:limit-reached")]);
        assert!(!buildkit_refuses(over.trim_end_matches("RUM x\n").as_bytes()));
    }
}
