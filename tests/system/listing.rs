//! `drydock image ls`, `diff` and `flatten`: no root needed.

use std::fs;
use std::path::Path;
use std::process::Command;

use drydock_tests::{drydock, run};
use serde_json::{Value, json};

/// A tar without any code of ours: GNU tar of files made here.
fn tar(dir: &Path, name: &str, files: &[(&str, &str)]) -> String {
    let root = dir.join(name);
    fs::create_dir_all(root.join("d")).unwrap();
    for (path, text) in files {
        fs::write(root.join(path), text).unwrap();
    }
    fs::hard_link(root.join("a"), root.join("d/z")).unwrap();
    std::os::unix::fs::symlink("a", root.join("s")).unwrap();
    let file = dir.join(format!("{name}.tar"));
    let fixed =
        ["--sort=name", "--owner=7", "--group=8", "--numeric-owner", "--mtime=@5.5", "--mode=0644", "--format=pax"];
    run(Command::new("tar").args(fixed).arg("-cf").arg(&file).arg("-C").arg(&root).arg("."));
    file.to_str().unwrap().to_owned()
}

fn image(dir: &Path, args: &[&str]) -> Vec<u8> {
    run(Command::new(drydock()).arg("image").args(args).arg("--state").arg(dir.join("state"))).stdout
}

fn lines(output: &[u8]) -> Vec<Value> {
    std::str::from_utf8(output).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn ls_as_json_has_exactly_the_fields_that_are_promised() {
    let dir = tempfile::tempdir().unwrap();
    let tar = tar(dir.path(), "one", &[("a", "abc")]);
    let found = lines(&image(dir.path(), &["ls", &tar, "--format", "json", "--sha256"]));
    let entry = |path: &str, kind: &str, size: u64| {
        json!({ "path": path, "type": kind, "mode": "0644", "uid": 7, "gid": 8, "size": size, "mtime_ns": 5_500_000_000_u64,
            "link": null, "hardlink": null, "rdev": null, "xattrs": {} })
    };
    let with = |mut entry: Value, key: &str, value: &str| {
        entry[key] = json!(value);
        entry
    };
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let file = |path| with(with(entry(path, "f", 3), "hardlink", "a"), "sha256", abc);
    let link = with(entry("s", "l", 1), "link", "a");
    assert_eq!(found, [entry(".", "d", 0), file("a"), entry("d", "d", 0), file("d/z"), link]);
    let plain = lines(&image(dir.path(), &["ls", &tar, "--format", "json"]));
    assert!(plain.iter().all(|entry| entry.get("sha256").is_none()));
}

#[test]
fn diff_names_what_was_added_removed_and_changed_by_size() {
    let dir = tempfile::tempdir().unwrap();
    let before = tar(dir.path(), "before", &[("a", "abc"), ("b", "gone"), ("same", "same")]);
    let after = tar(dir.path(), "after", &[("a", "xyz"), ("c", "comes in"), ("same", "same")]);
    let found = lines(&image(dir.path(), &["diff", &before, &after, "--format", "json"]));
    let change = |change, path, before: Value, after: Value| json!({ "change": change, "path": path, "before": before, "after": after });
    let expected = [
        change("added", "c", Value::Null, json!(8)),
        change("removed", "b", json!(4), Value::Null),
        change("changed", "a", json!(3), json!(3)),
        change("changed", "d/z", json!(3), json!(3)),
    ];
    assert_eq!(found, expected);
    let human = String::from_utf8(image(dir.path(), &["diff", &before, &after])).unwrap();
    let words: Vec<Vec<&str>> = human.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[..2], [["added", "-", "8", "c"], ["removed", "4", "-", "b"]]);
    assert!(image(dir.path(), &["diff", &after, &after]).is_empty());
}

#[test]
fn flatten_gives_the_same_tar_at_any_number_of_threads_also_through_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let tar = tar(dir.path(), "one", &[("a", "abc"), ("b", &"long ".repeat(10_000))]);
    let layout = format!("oci:{}:t", dir.path().join("layout").display());
    image(dir.path(), &["import", &tar, &layout]);
    let direct = image(dir.path(), &["flatten", &tar]);
    let cold = image(dir.path(), &["flatten", &layout, "--threads", "1"]);
    let warm = image(dir.path(), &["flatten", &layout, "--threads", "4"]);
    assert!(direct == cold && cold == warm);
    fs::write(dir.path().join("flat.tar"), &cold).unwrap();
    let listed = run(Command::new("tar").arg("-tf").arg(dir.path().join("flat.tar"))).stdout;
    assert_eq!(String::from_utf8(listed).unwrap(), "./\na\nb\nd/\nd/z\ns\n".replace("d/\n", "d\n"));
}
