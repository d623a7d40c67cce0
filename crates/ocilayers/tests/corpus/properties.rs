//! What has to hold for every stack of layers.

use std::sync::Arc;

use fstree::{
    Addition, Content, Diff, Kind, Metadata, Node, Removal, Sources, Timestamp, Tree, TreePath, dump, tar, walk,
};
use ocilayers::{Limits, Store, flatten};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::raw::layout;
use crate::shared::{bytes, tree as open};

fn path() -> impl Strategy<Value = TreePath> {
    vec("[abc]", 1..4).prop_map(|names| TreePath::parse(names.join("/").as_bytes()).unwrap())
}

fn node() -> impl Strategy<Value = Node> {
    let kind = prop_oneof![
        3 => Just(Kind::Directory(Default::default())),
        3 => (0..200_u64).prop_map(|len| Kind::File(Content::stored(Sources::default().add(Arc::new(vec![])), len, len))),
        2 => "/?((\\.\\.|[abc])/){0,2}[abc]".prop_map(|target| Kind::Symlink(target.into_bytes().into())),
        1 => Just(Kind::Fifo),
    ];
    (0..0o1000_u16, 0..5_i64, kind).prop_map(|(mode, seconds, kind)| Node {
        metadata: Metadata { mode, mtime: Timestamp { seconds, nanoseconds: 0 }, ..Metadata::default() },
        kind,
    })
}

fn addition() -> impl Strategy<Value = Addition> {
    prop_oneof![
        6 => (path(), node()).prop_map(|(path, node)| Addition::Entry { path, node }),
        1 => (path(), path()).prop_map(|(path, target)| Addition::Link { path, target }),
    ]
}

fn removal() -> impl Strategy<Value = Removal> {
    prop_oneof![3 => path().prop_map(Removal::Path), 1 => path().prop_map(Removal::Opaque), 1 => Just(Removal::Opaque(TreePath::root()))]
}

fn with_source(removals: Vec<Removal>, additions: Vec<Addition>) -> Diff {
    let mut sources = Sources::default();
    sources.add(Arc::new((0..400).map(|at| u8::try_from(at % 251).unwrap()).collect::<Vec<_>>()));
    Diff { removals, additions, sources }
}

/// A change of which every addition can be carried out on `tree`; what can't is left out.
fn possible(tree: &Tree, removals: Vec<Removal>, additions: Vec<Addition>) -> Diff {
    let removals: Vec<Removal> = removals
        .into_iter()
        .filter(|removal| tree.clone().apply(with_source(vec![removal.clone()], vec![])).is_ok())
        .collect();
    let mut kept = Vec::new();
    for addition in additions {
        kept.push(addition);
        if tree.clone().apply(with_source(removals.clone(), kept.clone())).is_err() {
            kept.pop();
        }
    }
    with_source(removals, kept)
}

/// Changes that can be carried out one after the other.
fn stack() -> impl Strategy<Value = Vec<Diff>> {
    vec((vec(removal(), 0..4), vec(addition(), 0..12)), 1..4).prop_map(|layers| {
        let mut tree = Tree::new(Metadata { mode: 0o755, ..Metadata::default() });
        let mut stack = Vec::new();
        for (removals, additions) in layers {
            let diff = possible(&tree, removals, additions);
            tree.apply(diff.clone()).unwrap();
            stack.push(diff);
        }
        stack
    })
}

fn applied(stack: &[Diff]) -> Tree {
    let mut tree = Tree::new(Metadata { mode: 0o755, ..Metadata::default() });
    stack.iter().for_each(|diff| tree.apply(diff.clone()).unwrap());
    tree
}

/// The dump, and what the files hold.
fn all_of(tree: &Tree) -> String {
    let mut text = dump(tree);
    let done: Result<(), ()> = walk(tree, |visit| {
        if let Kind::File(content) = &visit.node.kind {
            text.push_str(&format!("{:?}\n", bytes(tree, content)));
        }
        Ok(())
    });
    done.unwrap();
    text
}

/// A change as the entries of an archive, its removals as the names that stand for them.
fn entries(diff: &Diff) -> (Vec<Addition>, Vec<Addition>) {
    let mark = |removal: &Removal| {
        let (parent, name) = match removal {
            Removal::Opaque(path) => (path.as_bytes(), b".wh..wh..opq".to_vec()),
            Removal::Path(path) => {
                let (parent, name) = path.split_last().unwrap();
                (parent, [b".wh.", name].concat())
            }
        };
        let path = TreePath::parse(&[parent, b"/", &name].concat()).unwrap();
        Addition::Entry { path, node: Node { metadata: Metadata::default(), kind: Kind::Fifo } }
    };
    (diff.removals.iter().map(mark).collect(), diff.additions.clone())
}

fn archive(additions: Vec<Addition>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let diff = with_source(vec![], additions);
    tar::write_additions(&diff.additions, &diff.sources, &mut bytes).unwrap();
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn committed_layers_flatten_to_what_applying_gives(stack in stack()) {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits::default();
        let store = Store::open(dir.path(), limits).unwrap();
        let layers: Vec<_> = stack.iter().map(|diff| store.commit(diff).unwrap()).collect();
        prop_assert_eq!(all_of(&flatten(&layers, &limits).unwrap()), all_of(&applied(&stack)));
    }

    #[test]
    fn it_does_not_matter_where_in_a_layer_its_whiteouts_are(
        stack in stack(),
        places in vec(any::<prop::sample::Index>(), 16),
        order in any::<prop::sample::Index>(),
    ) {
        let layers: Vec<Vec<u8>> = stack.iter().map(|diff| {
            let (mut marks, mut entries) = entries(diff);
            let turn = order.index(marks.len() + 1);
            marks.rotate_left(turn);
            for (mark, place) in marks.into_iter().zip(&places) {
                entries.insert(place.index(entries.len() + 1), mark);
            }
            archive(entries)
        }).collect();
        let dir = tempfile::tempdir().unwrap();
        layout(dir.path(), &layers);
        let expected = all_of(&applied(&stack));
        prop_assert_eq!(all_of(&open(dir.path(), 1).unwrap()), expected.clone());
        prop_assert_eq!(all_of(&open(dir.path(), 3).unwrap()), expected);
    }

    #[test]
    fn it_does_not_matter_in_which_order_siblings_come(stack in stack(), keys in vec(any::<u32>(), 64)) {
        // One layer on the stack that holds the whole tree again: directories before what is in them, all else at random.
        let tree = applied(&stack);
        let mut additions = Vec::new();
        let done: Result<(), ()> = walk(&tree, |visit| {
            let path = TreePath::parse(visit.path).unwrap();
            let mut node = Node { metadata: visit.node.metadata.clone(), kind: visit.node.kind.clone() };
            if let Kind::Directory(entries) = &mut node.kind {
                entries.clear();
            } else if let Kind::File(_) = &node.kind {
                node.kind = Kind::Fifo;
            }
            additions.push(Addition::Entry { path, node });
            Ok(())
        });
        done.unwrap();
        let in_order = applied(&[stack.as_slice(), &[with_source(vec![], additions.clone())]].concat());
        let mut keyed: Vec<_> = additions.into_iter().zip(keys.iter().cycle()).collect();
        keyed.sort_by_key(|(addition, key)| {
            let (Addition::Entry { path, .. } | Addition::Link { path, .. }) = addition;
            (path.components().count(), **key)
        });
        let shuffled = with_source(vec![], keyed.into_iter().map(|(addition, _)| addition).collect());
        prop_assert_eq!(dump(&applied(&[stack.as_slice(), &[shuffled]].concat())), dump(&in_order));
    }
}
