//! What a registry wants before it answers: the `WWW-Authenticate` header (RFC 9110, 11.6.1).

/// A way to prove who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password with every request.
    Basic,
    /// A token from `realm` (distribution documentation, "Token Authentication").
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// The challenges of a header that are known; a token counts for more than a password.
pub(super) fn challenges(header: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = header.trim_start();
    while !rest.is_empty() {
        let (scheme, after) = rest.split_once(' ').unwrap_or((rest, ""));
        let (parameters, after) = parameters(after);
        let value = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        if scheme.eq_ignore_ascii_case("bearer") {
            let realm = value("realm");
            found.extend(realm.map(|realm| Challenge::Bearer {
                realm,
                service: value("service"),
                scope: value("scope"),
            }));
        } else if scheme.eq_ignore_ascii_case("basic") {
            found.push(Challenge::Basic);
        }
        rest = after;
    }
    found.sort_by_key(|challenge| *challenge == Challenge::Basic);
    found
}

/// `name=value` and `name="value"`, separated by commas, and what follows them.
fn parameters(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut all = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        let Some((name, after)) = rest.split_once('=') else { return (all, "") };
        if name.contains([' ', ',']) {
            // The name of the next scheme.
            return (all, rest);
        }
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => {
                let Some((value, after)) = unquote(quoted) else { return (all, "") };
                (value, after)
            }
            None => {
                let end = after.find([',', ' ']).unwrap_or(after.len());
                (after[..end].to_owned(), &after[end..])
            }
        };
        all.push((name.to_ascii_lowercase(), value));
        rest = after;
    }
}

/// The text up to the closing quote, and what follows that.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(letters.next()?.1),
            _ => value.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Challenge::Bearer { realm: realm.to_owned(), service: own(service), scope: own(scope) }
    }

    #[test]
    fn headers_of_registries() {
        let hub =
            r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#;
        let expected = bearer("https://auth.example/token", Some("registry.example"), Some("repository:a/b:pull,push"));
        assert_eq!(challenges(hub), [expected]);
        assert_eq!(challenges(r#"Basic realm="x""#), [Challenge::Basic]);
        assert_eq!(challenges("basic"), [Challenge::Basic]);
        let both = r#"Basic realm="a, b", Negotiate, BEARER realm=https://t , service="q\"q""#;
        assert_eq!(challenges(both), [bearer("https://t", Some("q\"q"), None), Challenge::Basic]);
        for none in ["", "Negotiate", "Bearer", "Bearer realm=\"open", "Bearer service=\"x\"", "=,=,=", ",,,"] {
            assert_eq!(challenges(none), [], "{none}");
        }
    }
}
