//! What the pattern forms of an expansion are made of besides the pattern: a pattern back to front for `%`, and the replacement
//! of `//`, in which Go's regular expressions see groups.

/// A pattern back to front, with each escape kept before its character.
pub(crate) fn reverse_pattern(pattern: &str) -> String {
    let mut items: Vec<(Option<char>, char)> = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match (c, chars.clone().next()) {
            ('\\', Some(escaped)) => {
                chars.next();
                items.push((Some('\\'), escaped));
            }
            _ => items.push((None, c)),
        }
    }
    items.into_iter().rev().flat_map(|(escape, c)| escape.into_iter().chain([c])).collect()
}

/// The replacement of `//`, in which Go's `$0`, `${0}` and `$$` mean the match and a dollar, and other groups are empty.
pub(crate) fn push_template(out: &mut String, template: &str, found: &[char]) {
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        match group_name(rest) {
            None => out.push('$'),
            Some((name, after)) => {
                if name == "0" {
                    out.extend(found);
                }
                rest = after;
            }
        }
    }
    out.push_str(rest);
}

/// The name of a group in a replacement, with or without braces, and what follows.
fn group_name(text: &str) -> Option<(&str, &str)> {
    let body = text.strip_prefix('{').unwrap_or(text);
    let end = body.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(body.len());
    let (name, rest) = body.split_at(end);
    let rest = if text.starts_with('{') { rest.strip_prefix('}')? } else { rest };
    (!name.is_empty()).then_some((name, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_turn_around_and_keep_their_escapes() {
        assert_eq!(reverse_pattern(r"a\*c"), r"c\*a");
        assert_eq!(reverse_pattern(r"ab\"), r"\ba");
    }

    #[test]
    fn groups_that_are_not_there_are_empty() {
        for (template, text) in [("[$0]", "[xy]"), ("${0}$1$a-$$", "xy-$"), ("$", "$"), ("${", "${"), ("${}", "${}")] {
            let mut out = String::new();
            push_template(&mut out, template, &['x', 'y']);
            assert_eq!(out, text, "{template}");
        }
    }
}
