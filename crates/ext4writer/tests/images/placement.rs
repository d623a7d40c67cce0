//! Stable placement: what the lower layers brought is where it is in an image of these alone, and stays clean and complete.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use ext4writer::{
    BlockSize, Features, ImageSize, Inodes, Journal, Layout, Memory, Options, Placement, layout, write_to,
};
use fstree::{Addition, Content, Diff, Kind, Metadata, Node, Removal, Tree, TreePath};
use proptest::prelude::*;

use crate::support::{Image, image, image_of, read_back, verify};
use crate::trees::{target, time};

/// The largest content here.
const SOURCE_LEN: u64 = 250_000;

/// One step of a layer; numbers choose among the few names there are, so that layers meet each other's.
#[derive(Clone, Debug)]
enum Step {
    Directory(usize, Metadata),
    File(usize, u64, Metadata),
    Holes(usize, u64, Metadata),
    Link(usize, usize, Metadata),
    HardLink(usize, usize),
    /// Many names at once: directories of several blocks that grow.
    Many(usize, u16),
    Remove(usize),
    Opaque(usize),
}

fn path(choice: usize) -> String {
    let names = ["a", "b", "c", "d", "e", "f"];
    let mut path = names[choice % 6].to_owned();
    if !(choice / 6).is_multiple_of(4) {
        path = format!("{path}/{}", names[choice / 24 % 6]);
    }
    path
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let value = (any::<u8>(), 0_usize..400).prop_map(|(byte, len)| vec![byte; len]);
    let xattrs = proptest::collection::btree_map("user\\.[a-c]", value, 0..3);
    (0_u16..0o7777, 0_i64..0x7FFF_FFFF, xattrs).prop_map(|(mode, seconds, xattrs)| {
        let xattrs = xattrs.into_iter().map(|(name, value)| (name.into_bytes().into(), value.into())).collect();
        Metadata { mode, mtime: time(seconds, 0), xattrs, ..Metadata::default() }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let any = any::<usize>;
    // Few lengths, so that files replace those of the same size.
    let len = || prop_oneof![Just(0_u64), Just(5_000), Just(150_000), 0_u64..SOURCE_LEN];
    prop_oneof![
        3 => (any(), metadata()).prop_map(|(at, metadata)| Step::Directory(at, metadata)),
        6 => (any(), len(), metadata()).prop_map(|(at, len, metadata)| Step::File(at, len, metadata)),
        1 => (any(), len(), metadata()).prop_map(|(at, len, metadata)| Step::Holes(at, len, metadata)),
        1 => (any(), 1_usize..900, metadata()).prop_map(|(at, len, metadata)| Step::Link(at, len, metadata)),
        2 => (any(), any()).prop_map(|(at, target)| Step::HardLink(at, target)),
        2 => (any(), 1_u16..400).prop_map(|(at, count)| Step::Many(at, count)),
        2 => any().prop_map(Step::Remove),
        1 => any().prop_map(Step::Opaque),
    ]
}

/// What the steps of a layer are as a change of a tree.
fn diff(number: usize, steps: &[Step]) -> Diff {
    let mut diff = Diff::default();
    let source = diff.sources.add(Arc::new(bytes()));
    let parsed = |path: String| TreePath::parse(path.as_bytes()).unwrap();
    for step in steps {
        let (at, kind, metadata) = match step {
            Step::Directory(at, metadata) => (at, Kind::Directory(Default::default()), metadata),
            Step::File(at, len, metadata) => {
                (at, Kind::File(Content::stored(source, SOURCE_LEN - len, *len)), metadata)
            }
            Step::Holes(at, len, metadata) => {
                let run = |file_offset| fstree::Segment { file_offset, source, source_offset: 1, len_bytes: 9_000 };
                // So few that the inode holds all extents: trees of more move behind what upper layers bring.
                let runs = (0..(len / 20_000).min(3)).map(|nth| run(nth * 20_000)).collect();
                (at, Kind::File(Content::sparse(len + 9_000, runs).unwrap()), metadata)
            }
            Step::Link(at, len, metadata) => {
                // Links that lead nowhere are at names that nothing is put below.
                let node = Node { metadata: without_user(metadata), kind: Kind::Symlink(target(*len)) };
                diff.additions.push(Addition::Entry { path: parsed(format!("links{}", at % 9)), node });
                continue;
            }
            Step::HardLink(at, to) => {
                diff.additions.push(Addition::Link { path: parsed(path(*at)), target: parsed(path(*to)) });
                continue;
            }
            Step::Many(at, count) => {
                for nth in 0..*count {
                    let path = parsed(format!("{}/many-names-{number}-{:050}", path(*at), nth));
                    let node = Node { metadata: Metadata::default(), kind: Kind::Fifo };
                    diff.additions.push(Addition::Entry { path, node });
                }
                continue;
            }
            Step::Remove(at) => {
                diff.removals.push(Removal::Path(parsed(path(*at))));
                continue;
            }
            Step::Opaque(at) => {
                diff.removals.push(Removal::Opaque(parsed(path(*at))));
                continue;
            }
        };
        let node = Node { metadata: metadata.clone(), kind };
        diff.additions.push(Addition::Entry { path: parsed(path(*at)), node });
    }
    diff
}

fn without_user(metadata: &Metadata) -> Metadata {
    Metadata { xattrs: Default::default(), ..metadata.clone() }
}

fn bytes() -> Vec<u8> {
    (0..SOURCE_LEN).map(|at| u8::try_from(((at * 2_654_435_761) >> 7) & 0xFF).unwrap() | 1).collect()
}

/// Applies a layer as far as it can be: steps that lead nowhere are left out.
fn apply(tree: &mut Tree, mut diff: Diff) {
    loop {
        let mut changed = tree.clone();
        match changed.apply(diff.clone()) {
            Ok(()) => return *tree = changed,
            Err(error) => {
                let (additions, removals) = (diff.additions.len(), diff.removals.len());
                diff.additions.retain(|addition| {
                    let (Addition::Entry { path, .. } | Addition::Link { path, .. }) = addition;
                    path.as_bytes() != error.path
                });
                diff.removals.retain(|removal| {
                    let (Removal::Path(path) | Removal::Opaque(path)) = removal;
                    path.as_bytes() != error.path
                });
                assert!((diff.additions.len(), diff.removals.len()) != (additions, removals), "{error}");
            }
        }
    }
}

/// The tree after each layer.
fn trees(layers: &[Vec<Step>]) -> Vec<Tree> {
    let mut tree = Tree::new(Metadata { mode: 0o755, ..Metadata::default() });
    layers
        .iter()
        .enumerate()
        .map(|(number, steps)| {
            apply(&mut tree, diff(number, steps));
            tree.clone()
        })
        .collect()
}

/// Where a path is: its inode, and the blocks of it as debugfs shows them.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    inode: u64,
    blocks: Vec<u64>,
}

/// The places of paths, read by e2fsprogs.
fn places(image: &Image, paths: &[Vec<u8>]) -> BTreeMap<Vec<u8>, Place> {
    let paths_shown = paths.iter().map(|path| String::from_utf8(path.clone()).unwrap());
    let commands: String = paths_shown.map(|path| format!("stat \"/{path}\"\nblocks \"/{path}\"\n")).collect();
    let file = image.directory.path().join("commands");
    std::fs::write(&file, commands).unwrap();
    let output = std::process::Command::new("debugfs").arg("-f").args([&file, &image.path]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut found = BTreeMap::new();
    let mut parts = text.split("debugfs: stat ").skip(1);
    for path in paths {
        let part = parts.next().unwrap_or_else(|| panic!("debugfs says nothing of {}", path.escape_ascii()));
        let inode =
            part.split("Inode: ").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap().parse().unwrap();
        // A short link has its target where others have block numbers; debugfs takes it for these, and what is in its memory for more.
        let is_short_link = part.contains("\nFast link dest: ");
        let line = part.split("debugfs: blocks ").nth(1).and_then(|rest| rest.lines().nth(1));
        let line = line.filter(|_| !is_short_link).unwrap_or_default();
        let blocks = line.split_whitespace().map_while(|block| block.parse().ok()).collect();
        found.insert(path.clone(), Place { inode, blocks });
    }
    found
}

/// The paths at which both trees have one node, and whether it is a directory.
fn common(lower: &Tree, upper: &Tree) -> Vec<(Vec<u8>, bool)> {
    let paths = |tree: &Tree| {
        let mut paths = BTreeMap::new();
        let done: Result<(), ()> = fstree::walk(tree, |visit| {
            if !visit.path.is_empty() {
                paths.insert(visit.path.to_vec(), (visit.id, visit.node.is_directory()));
            }
            Ok(())
        });
        done.unwrap();
        paths
    };
    let upper = paths(upper);
    paths(lower)
        .into_iter()
        .filter(|(path, node)| upper.get(path) == Some(node))
        .map(|(path, (_, is))| (path, is))
        .collect()
}

/// What both trees have and is not at one place in both images: the path, and both places.
fn moved([lower, upper]: [&Tree; 2], images: [&Image; 2]) -> Vec<String> {
    let common = common(lower, upper);
    let paths: Vec<Vec<u8>> = common.iter().map(|(path, _)| path.clone()).collect();
    let [below, above] = images.map(|image| places(image, &paths));
    let stays = |path: &Vec<u8>, is_directory| {
        let (below, above) = (&below[path], &above[path]);
        // A directory may need fewer blocks, or more behind those it had.
        let same = if is_directory { below.blocks.len().min(above.blocks.len()) } else { usize::MAX };
        below.inode == above.inode && below.blocks.iter().take(same).eq(above.blocks.iter().take(same))
    };
    let moved = common.iter().filter(|(path, is_directory)| !stays(path, *is_directory));
    moved.map(|(path, _)| format!("{}: {:?}, {:?}", path.escape_ascii(), below[path], above[path])).collect()
}

fn stable(size_bytes: u64, block_size: BlockSize, features: Features) -> Options {
    let size = ImageSize::Exact(size_bytes);
    Options { size, block_size, features, placement: Placement::Stable, ..Options::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_below_stays_where_it_is(
        layers in proptest::collection::vec(proptest::collection::vec(step(), 0..40), 2..5),
        block in 0_usize..3,
        leave_out in 0_usize..4,
    ) {
        let without = [Features::empty(), Features::DIR_INDEX, Features::METADATA_CSUM_SEED, Features::FLEX_BG][leave_out];
        // More inodes than the layers ever bring: tables that grow move what is behind them.
        let inodes = Inodes::Exact(16_384);
        let options = Options { inodes, ..stable(64 << 20, BlockSize::ALL[block], Features::default() - without) };
        let trees = trees(&layers);
        let images: Vec<Image> = trees.iter().map(|tree| {
            let image = image(tree, &options);
            verify(&image.path);
            read_back(tree, &image.path);
            image
        }).collect();
        for upper in 1..trees.len() {
            prop_assert_eq!(moved([&trees[upper - 1], &trees[upper]], [&images[upper - 1], &images[upper]]), Vec::<String>::new());
        }
        let bytes = |threads| {
            let sink = Memory::default();
            write_to(trees.last().unwrap(), &Options { threads: Some(threads), ..options.clone() }, &sink).unwrap();
            sink.into_bytes()
        };
        let one = bytes(1);
        prop_assert!(one == bytes(2) && one == bytes(8));
        prop_assert!(one == std::fs::read(&images.last().unwrap().path).unwrap());
    }

    #[test]
    fn short_of_space_it_is_as_without(
        layers in proptest::collection::vec(proptest::collection::vec(step(), 0..30), 1..4),
        headroom_bytes in 0_u64..3_000_000,
    ) {
        let tree = trees(&layers).pop().unwrap();
        let sized = |size, placement| Options { size, placement, ..Options::default() };
        let sizes = [Placement::Compact, Placement::Stable]
            .map(|placement| Layout::minimum_size(&tree, &sized(ImageSize::Exact(0), placement)).unwrap());
        let seeded = |size, placement| Options { hash_seed: Some([7; 16]), uuid: Some([8; 16]), ..sized(size, placement) };
        let smallest = Layout::minimum_size(&tree, &seeded(ImageSize::Exact(0), Placement::Stable)).unwrap();
        prop_assert_eq!(sizes[0], sizes[1]);
        for more in [0, 40_960, 4 << 20] {
            let Ok(_) = layout(&tree, &seeded(ImageSize::Exact(smallest + more), Placement::Compact)) else { continue };
            let image = image_of(&tree, &seeded(ImageSize::Exact(smallest + more), Placement::Stable));
            verify(&image.path);
        }
        let less = seeded(ImageSize::Exact(smallest - 4096), Placement::Stable);
        let refused = layout(&tree, &less).unwrap_err();
        prop_assert!(
            matches!(refused, ext4writer::Error::NoSpace { needed_bytes, .. } if needed_bytes == smallest),
            "{}",
            refused
        );
        let auto = |placement| layout(&tree, &seeded(ImageSize::Auto { headroom_bytes }, placement)).unwrap();
        let (compact, stable) = (auto(Placement::Compact), auto(Placement::Stable));
        prop_assert_eq!(compact.size_bytes(), stable.size_bytes());
        prop_assert!(stable.free_blocks() * 4096 >= headroom_bytes);
    }
}

/// Pieces of a size that two images have in common, of those of the first that are not zero.
fn pieces_in_common(one: &[u8], other: &[u8], len: usize) -> (usize, usize) {
    let pieces: std::collections::HashSet<&[u8]> = other.chunks(len).collect();
    let stored: Vec<&[u8]> = one.chunks(len).filter(|piece| piece.iter().any(|&byte| byte != 0)).collect();
    (stored.iter().filter(|&&piece| pieces.contains(piece)).count(), stored.len())
}

fn bytes_of(tree: &Tree, options: &Options) -> Vec<u8> {
    let sink = Memory::default();
    write_to(tree, options, &sink).unwrap();
    sink.into_bytes()
}

/// Two layers: 144 files of 24 MB in all, and 600 small ones, with a directory of several blocks.
fn large_base() -> Tree {
    let mut tree = Tree::new(Metadata { mode: 0o755, ..Metadata::default() });
    let layer = |number, directory: &str, sizes: Vec<u64>| {
        let mut diff = diff(number, &[Step::Many(0, 300)]);
        let source = diff.sources.add(Arc::new(bytes()));
        diff.additions.extend((0..).zip(sizes).map(|(nth, len): (usize, u64)| {
            let path = TreePath::parse(format!("{directory}/{nth}").as_bytes()).unwrap();
            // No two pieces are equal.
            let content = Content::stored(source, u64::try_from(nth).unwrap() * 7 + 1, len);
            Addition::Entry { path, node: Node { metadata: Metadata::default(), kind: Kind::File(content) } }
        }));
        diff
    };
    apply(&mut tree, layer(0, "small", (0..600).map(|nth| 5_000 + nth).collect()));
    apply(&mut tree, layer(1, "large", (0..144).map(|nth| 100_000 + nth * 997).collect()));
    tree
}

/// The size gives 4,096 inodes; more come by 2,048.
#[test]
fn inodes_are_added_seldom_since_that_moves_what_is_behind_them() {
    let files = |at, count| vec![Step::Directory(at, Metadata::default()), Step::Many(at, count)];
    let below = [files(0, 4_200), vec![Step::File(1, 150_000, Metadata::default())]].concat();
    let options = stable(64 << 20, BlockSize::Kib4, Features::default());
    let trees = trees(&[below, files(2, 500), files(3, 2_000)]);
    let images: Vec<Image> = trees.iter().map(|tree| image_of(tree, &options)).collect();
    assert_eq!(moved([&trees[0], &trees[1]], [&images[0], &images[1]]), Vec::<String>::new());
    let moved = moved([&trees[1], &trees[2]], [&images[1], &images[2]]);
    assert!(moved.iter().any(|moved| moved.starts_with("b: ")), "{moved:?}");
}

#[test]
fn one_more_file_changes_few_pieces() {
    let lower = large_base();
    let mut upper = lower.clone();
    apply(&mut upper, diff(2, &[Step::File(1, 100_000, Metadata { mtime: time(7, 7), ..Metadata::default() })]));
    let options = stable(96 << 20, BlockSize::Kib4, Features::default());
    let images = [&lower, &upper].map(|tree| bytes_of(tree, &options));
    let (same, all) = pieces_in_common(&images[0], &images[1], 64 << 10);
    // Superblocks, bitmaps, the table, the directory, the new file, and what stood where the old one was.
    assert!(all > 350 && all - same < 12, "{same} of {all}");
}

#[test]
fn images_of_two_sizes_have_the_contents_in_common() {
    let tree = large_base();
    let images = [80_u64, 160].map(|mib| bytes_of(&tree, &stable(mib << 20, BlockSize::Kib4, Features::default())));
    let (same, all) = pieces_in_common(&images[0], &images[1], 64 << 10);
    assert!(same * 100 >= all * 93, "{same} of {all}");
}

#[test]
fn another_mode_moves_no_byte_of_a_file() {
    let lower = large_base();
    let mut upper = lower.clone();
    let path = TreePath::parse(b"large/7").unwrap();
    let old = lower.lookup(lower.lookup(Tree::ROOT, b"large").unwrap(), b"7").unwrap();
    let mut node = lower.node(old).clone();
    node.metadata.mode = 0o600;
    // The content of a copy is somewhere else.
    let mut again = Diff::default();
    let source = again.sources.add(Arc::new(bytes()));
    let Kind::File(content) = &node.kind else { unreachable!("it was made as a file") };
    node.kind = Kind::File(Content::stored(source, 0, content.size_bytes()));
    again.additions.push(Addition::Entry { path, node });
    upper.apply(again).unwrap();
    let options = stable(96 << 20, BlockSize::Kib4, Features::default());
    let images = [&lower, &upper].map(|tree| image(tree, &options));
    let paths = [b"large/7".to_vec()];
    assert_eq!(places(&images[0], &paths), places(&images[1], &paths));
    assert_eq!(images[0].report.free_bytes, images[1].report.free_bytes);
}

#[test]
fn layers_that_remove_everything_leave_it_free() {
    let mut tree = large_base();
    let full = layout(&tree, &stable(96 << 20, BlockSize::Kib4, Features::default())).unwrap().free_blocks();
    let removals = [Removal::Opaque(TreePath::root())].to_vec();
    apply(&mut tree, Diff { removals, ..Diff::default() });
    for journal in [Journal::Auto, Journal::None] {
        let options = Options { journal, ..stable(96 << 20, BlockSize::Kib4, Features::default()) };
        let image = image_of(&tree, &options);
        verify(&image.path);
        let free = image.report.free_bytes / 4096;
        assert!(free > full + 6_000, "{free} blocks are free, and {full} were");
    }
}

#[test]
fn the_checksums_are_those_of_the_base_and_the_uuid_is_not() {
    let lower = large_base();
    let mut upper = lower.clone();
    apply(&mut upper, diff(2, &[Step::File(1, 100_000, Metadata::default())]));
    let fields = [&lower, &upper].map(|tree| {
        let image = image(tree, &stable(96 << 20, BlockSize::Kib4, Features::default()));
        let mut superblock = vec![0; 1024];
        File::open(&image.path).unwrap().read_exact_at(&mut superblock, 1024).unwrap();
        // s_uuid; s_hash_seed and s_checksum_seed.
        (superblock[0x68..0x78].to_vec(), [&superblock[0xEC..0xFC], &superblock[0x270..0x274]].concat())
    });
    assert_ne!(fields[0].0, fields[1].0);
    assert_eq!(fields[0].1, fields[1].1);
}
