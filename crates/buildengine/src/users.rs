//! USER: names to numbers, by the image's own `/etc/passwd` and `/etc/group`, never the host's.

use fstree::{Kind, Tree};

use crate::sandbox::User;
use crate::sandbox::ids::IDS;

/// The largest user database read, in bytes.
const FILE_MAX: u64 = 4 << 20;

/// What `user[:group]` means in `tree`: numbers are taken as they are, names are looked up; empty is root.
///
/// A user alone brings its own group and the groups that list it; a group given by hand stands alone
/// (Dockerfile reference, USER).
///
/// # Errors
/// A name the image does not know, or a user database that is too large; the text says which and what to do.
pub fn resolve(tree: &Tree, text: &str) -> Result<User, String> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let passwd = read(tree, "etc/passwd")?;
    let entry = passwd.lines().map(Passwd::parse).find_map(|entry| {
        entry.filter(|entry| if user.is_empty() { entry.uid == 0 } else { entry.name == user || entry.is_number(user) })
    });
    let uid = match (&entry, user) {
        (Some(entry), _) => entry.uid,
        (None, "") => 0,
        (None, _) => number(user).ok_or_else(|| unknown("user", user, "/etc/passwd", "useradd"))?,
    };
    if let Some(group) = group.filter(|group| !group.is_empty()) {
        return Ok(User { uid, gid: group_number(tree, group)?, additional_gids: Vec::new() });
    }
    let gid = entry.as_ref().map_or(0, |entry| entry.gid);
    let additional_gids = match &entry {
        Some(entry) => groups_of(&read(tree, "etc/group")?, entry.name, gid),
        None => Vec::new(),
    };
    Ok(User { uid, gid, additional_gids })
}

/// The same user, if it is one that a step can run as.
pub(crate) fn in_a_step(user: User) -> Result<User, String> {
    let mut ids = [user.uid, user.gid].into_iter().chain(user.additional_gids.iter().copied());
    match ids.find(|&id| id >= IDS) {
        Some(id) => Err(format!("a step has the ids 0 to {}, and {id} is none of them; use a smaller one", IDS - 1)),
        None => Ok(user),
    }
}

struct Passwd<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
}

impl<'a> Passwd<'a> {
    /// A line of passwd(5): `name:password:uid:gid:...`.
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        Some(Self { name, uid: number(uid)?, gid: number(gid)? })
    }

    fn is_number(&self, text: &str) -> bool {
        number(text) == Some(self.uid)
    }
}

fn group_number(tree: &Tree, group: &str) -> Result<u32, String> {
    let file = read(tree, "etc/group")?;
    let named = file.lines().filter_map(parse_group).find(|(name, ..)| *name == group).map(|(_, gid, _)| gid);
    named.or_else(|| number(group)).ok_or_else(|| unknown("group", group, "/etc/group", "groupadd"))
}

fn groups_of(file: &str, name: &str, own: u32) -> Vec<u32> {
    let lists = |members: &str| members.split(',').any(|member| member == name);
    let found = file.lines().filter_map(parse_group).filter(|(_, gid, members)| *gid != own && lists(members));
    found.map(|(_, gid, _)| gid).collect()
}

/// A line of group(5): `name:password:gid:member,member`.
fn parse_group(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.split(':');
    let (name, _, gid) = (fields.next()?, fields.next()?, number(fields.next()?)?);
    Some((name, gid, fields.next().unwrap_or_default()))
}

/// A user or group number: decimal digits; 4,294,967,295 means "none" to the kernel and is no number here.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&number| digits && number != u32::MAX)
}

fn unknown(what: &str, name: &str, file: &str, tool: &str) -> String {
    format!(
        "the {what} '{name}' is not in the image's {file}; create it first with `RUN {tool} {name}`, or give a number"
    )
}

/// The text of a file of the image; empty when there is none.
fn read(tree: &Tree, path: &str) -> Result<String, String> {
    let Some(id) = tree.resolve(path.as_bytes()).ok().and_then(|found| found.node) else { return Ok(String::new()) };
    let Kind::File(content) = &tree.node(id).kind else { return Ok(String::new()) };
    if content.size_bytes() > FILE_MAX {
        return Err(format!("the image's /{path} is {} bytes long; at most {FILE_MAX} are read", content.size_bytes()));
    }
    let mut bytes = vec![0; usize::try_from(content.size_bytes()).map_err(|error| error.to_string())?];
    for segment in content.segments() {
        let start = usize::try_from(segment.file_offset).map_err(|error| error.to_string())?;
        let len = usize::try_from(segment.len_bytes).map_err(|error| error.to_string())?;
        let source = tree.sources.get(segment.source);
        let read = source.read_exact_at(&mut bytes[start..start + len], segment.source_offset);
        read.map_err(|error| format!("the image's /{path} can't be read: {error}"))?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fstree::{Content, Metadata, Node};

    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree::new(Metadata::default());
        let etc = tree.insert(Tree::ROOT, b"etc", Node::directory(Metadata::default())).unwrap();
        for (name, text) in [
            ("passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\nbroken\n"),
            ("group", "root:x:0:\nstaff:x:50:app,other\napp:x:1001:app\n"),
        ] {
            let source = tree.sources.add(Arc::new(text.as_bytes().to_vec()));
            let content = Content::stored(source, 0, u64::try_from(text.len()).unwrap());
            let node = Node { metadata: Metadata::default(), kind: Kind::File(content) };
            tree.insert(etc, name.as_bytes(), node).unwrap();
        }
        tree
    }

    #[test]
    fn names_and_numbers() {
        let tree = tree();
        for (text, uid, gid, additional) in [
            ("", 0, 0, vec![]),
            ("root", 0, 0, vec![]),
            ("app", 1000, 1001, vec![50]),
            ("1000", 1000, 1001, vec![50]),
            ("app:staff", 1000, 50, vec![]),
            ("app:7", 1000, 7, vec![]),
            ("4242", 4242, 0, vec![]),
            (":staff", 0, 50, vec![]),
        ] {
            let expected = User { uid, gid, additional_gids: additional };
            assert_eq!(resolve(&tree, text), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn unknown_names_say_what_to_do() {
        let tree = tree();
        assert!(resolve(&tree, "nobody").unwrap_err().contains("RUN useradd nobody"));
        assert!(resolve(&tree, "app:wheel").unwrap_err().contains("RUN groupadd wheel"));
        for text in ["4294967295", "-1", "+5", "99999999999"] {
            assert!(resolve(&tree, text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_step_has_so_many_ids() {
        let user = |uid, gid| User { uid, gid, additional_gids: vec![7] };
        assert!(in_a_step(user(65_535, 0)).is_ok());
        assert!(in_a_step(user(65_536, 0)).unwrap_err().contains("65536"));
        assert!(in_a_step(user(0, 100_000)).unwrap_err().contains("100000"));
    }

    #[test]
    fn an_image_without_users_still_has_numbers() {
        let tree = Tree::new(Metadata::default());
        assert_eq!(resolve(&tree, "12:34"), Ok(User { uid: 12, gid: 34, additional_gids: vec![] }));
        assert!(resolve(&tree, "app").is_err());
    }
}
