//! The mistakes that people make, each with its own help and, where it is certain, an edit that mends it.

use super::{mended, places, problems};

/// The help of the first problem.
fn help(text: &str) -> String {
    let found = problems(text.as_bytes());
    let first = found.first().unwrap_or_else(|| panic!("no problem in {text:?}"));
    first.help.clone().unwrap_or_else(|| panic!("no help for {:?}", first.message)).into_owned()
}

#[test]
fn mistakes_have_their_own_help() {
    for (text, want) in [
        ("FROM a # b\n", "move the comment to its own line"),
        ("FROM a\nENV A=b # c\n", "move the comment to its own line"),
        ("FROM a\nRUN x\n&& y\n", "end the line before with ` \\`"),
        ("FROM a\nRUN x\n-y z\n", "end the line before with ` \\`"),
        ("FROM a\nRUN x\n--y=z\n", "end the line before with ` \\`"),
        ("FROM a\nRUN <<EOF\nx\n  EOF\n", "remove the blanks before the terminator"),
        ("FROM a\nRUN <<EOF\nx\n\tEOF\n", "`<<-EOF`"),
        ("FROM a\nRUN <<EOF\nx\nEOF \n", "remove the blanks after the terminator"),
        ("FROM a\nRUN <<EOF; x\nx\nEOF\n", "put a blank after `EOF`"),
        ("FROM a\nRUN cat <<- EOF\n\tx\n\tEOF\n", "`<<-EOF`"),
        ("FROM a\nRUN echo it's; cat <<EOF\nx\nEOF\n", "close the quote"),
        ("FROM a\nCMD <<EOF\nx\nEOF\n", "only `RUN`, `COPY` and `ADD`"),
        ("FROM a\nCMD ['a']\n", "double quotes"),
        ("FROM a\nCMD [\"a\" \"b\"]\n", "put a comma before this string"),
        ("FROM a\nCMD [\"a\",]\n", "remove the comma"),
        ("FROM a\nCMD [\"C:\\x\"]\n", "a backslash is written"),
        ("FROM a\nCMD [\u{201C}a\u{201D}]\n", "replace them"),
        ("FROM a\nCMD [\"a\", 1]\n", "\"1\""),
        ("FROM a\nRUN --mount type=cache,target=/x y\n", "with `=` and without blanks"),
        ("FROM a\nRUN --mout=type=cache x\n", "did you mean `--mount`?"),
        ("FROM a\nHEALTHCHECK --interval=30 CMD x\n", "`--interval=30s`"),
        ("FROM a\nHEALTHCHECK curl x\n", "`HEALTHCHECK CMD`"),
        ("FROM a\nRUN x \\\n\nENV A=b\n", "an empty line does not end an instruction"),
        ("FROM a\nENV A=1 B=$A\n", "an `ENV` of its own"),
        ("FROM a\nENV A=b c\n", "`A=\"b c\"`"),
        ("FROM a\nENV A = b\n", "without blanks around the `=`"),
        ("FROM a\nENV A\n", "`A=`"),
        ("FROM a\nRNU x\n", "did you mean `RUN`?"),
        ("from a\nrnu x\n", "did you mean `run`?"),
        ("FROM a\nSHELL /bin/bash -c\n", "[\"/bin/bash\", \"-c\"]"),
        ("FROM a\nCOPY /a <<EOF\nx\nEOF\n", "put the path last"),
        ("FROM a AS 1x\n", "starts with a letter"),
        ("FROM a AS b c\n", "`FROM image AS name`"),
        ("RUN x\nFROM a\n", "move it below the `FROM`"),
        ("```dockerfile\nFROM a\n```\n", "Markdown"),
        ("FROM a\n>>> x\n", "prompt"),
        ("FROM a\nRUN echo $(( 1 << 2 ))\n", "$((1<<2))"),
    ] {
        let help = help(text);
        assert!(help.contains(want), "{text:?}: {help}");
    }
}

#[test]
fn certain_edits_mend_the_file() {
    for (text, want) in [
        ("FROM a\nCMD ['a', 'b']\n", "FROM a\nCMD [\"a\", \"b\"]\n"),
        ("FROM a\nCMD [\"a\" \"b\"]\n", "FROM a\nCMD [\"a\" , \"b\"]\n"),
        ("FROM a\nRUN <<EOF\nx\n  EOF\n", "FROM a\nRUN <<EOF\nx\nEOF\n"),
        ("FROM a\nRUN cat <<- EOF\n\tx\n\tEOF\n", "FROM a\nRUN cat <<-EOF\n\tx\n\tEOF\n"),
        ("FROM a\nHEALTHCHECK --interval=30 CMD x\n", "FROM a\nHEALTHCHECK --interval=30s CMD x\n"),
        ("FROM a\nENV A = b\n", "FROM a\nENV A=b\n"),
        ("FROM a\nRNU x\n", "FROM a\nRUN x\n"),
        ("FROM a\nSHELL /bin/bash -c\n", "FROM a\nSHELL [\"/bin/bash\", \"-c\"]\n"),
        ("FROM a\nRUN --mout=type=cache,target=/x y\n", "FROM a\nRUN --mount=type=cache,target=/x y\n"),
        ("FROM a\nRUN x \\\n", "FROM a\nRUN x \n"),
        ("FROM a # b\n", "FROM a \n"),
    ] {
        let fixed = mended(text);
        assert_eq!(fixed, want);
        assert_eq!(places(&fixed), [""; 0], "{fixed:?}");
    }
}
