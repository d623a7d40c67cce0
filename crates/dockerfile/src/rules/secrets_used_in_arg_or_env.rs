//! SecretsUsedInArgOrEnv: the name of an `ARG` or `ENV` sounds like a secret, and both stay readable in the image.

use super::{Lints, finding};
use crate::diagnostic::Code;
use crate::goformat::quote;
use crate::span::Span;

const SECRET: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
const HARMLESS: [&str; 3] = ["public", "file", "version"];

/// Judges the variable `name` of an instruction `keyword` (`ARG` or `ENV`).
pub(crate) fn check(keyword: &str, name: &str, span: Span, lints: &mut Lints) {
    if !sounds_secret(name) {
        return;
    }
    let message = format!("Do not use ARG or ENV instructions for sensitive data ({keyword} {})", quote(name));
    let finding = finding(Code::SecretsUsedInArgOrEnv, span, message);
    lints.report(finding.help("values stay readable in the image's configuration and history"));
}

/// Whether a part of the name between underscores is one of the words, and none is a harmless one.
fn sounds_secret(name: &str) -> bool {
    let has = |words: &[&str]| name.split('_').any(|part| words.iter().any(|word| same_word(part, word)));
    has(&SECRET) && !has(&HARMLESS)
}

/// Equal but for case; like Go's regular expressions, U+212A counts as a `k` and U+017F as an `s`.
fn same_word(part: &str, word: &str) -> bool {
    let fold = |c: char| match c {
        '\u{212A}' => 'k',
        '\u{17F}' => 's',
        c => c.to_ascii_lowercase(),
    };
    part.chars().map(fold).eq(word.chars())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_sound_secret() {
        for name in ["API_KEY", "password", "GITHUB_TOKEN", "auth", "MY_\u{17F}ecret", "A_apikey_B"] {
            assert!(sounds_secret(name), "{name}");
        }
        for name in ["KEYBOARD", "PASSWORD_FILE", "PUBLIC_KEY", "TOKEN_VERSION", "monkey", ""] {
            assert!(!sounds_secret(name), "{name}");
        }
    }
}
