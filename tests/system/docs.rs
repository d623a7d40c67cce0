//! What the documentation says is so: its examples run as they stand, its links lead somewhere, the tests it names exist, and the unit of systemd is one.
//!
//! Examples are the fenced blocks of README and of the pages in docs. A line of `console` is a command after `$` (anybody) or `#` (root), or goes on with the one
//! before; each page runs in a folder of its own. `toml` is a configuration. `rust` is run as a test of the crate `drydock`. A block below
//! `<!-- not run: REASON -->` is not run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use drydock_tests::{assert_no_problems, busybox_base, drydock, privileged, run, workspace};

/// What a shell says before the commands of a page: the server of an example listens where there is room, and ends with the page.
const PRELUDE: &str = r#"
drydock() {
    if [ "$1" = serve ] && [[ " $* " != *" --print-config "* ]]; then
        command drydock "$@" --listen 127.0.0.1:0 >served &
        trap "kill $!; wait $!" EXIT
        for _ in $(seq 600); do grep -q ^listening served && break; sleep 0.1; done
        SERVED_URL=$(sed -n 's/^listening on //p' served) SERVED_KEY=$(sed -n 's/^the first key, shown this once: //p' served)
    else
        command drydock "$@"
    fi
}
"#;

/// The pages whose examples run.
fn pages() -> Vec<PathBuf> {
    let mut pages =
        vec![workspace().join("README.md"), workspace().join("CONTRIBUTING.md"), workspace().join("ARCHITECTURE.md")];
    let mut folders = vec![workspace().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else if entry.path().extension().is_some_and(|extension| extension == "md") {
                pages.push(entry.path());
            }
        }
    }
    pages.sort();
    pages
}

fn name(page: &Path) -> String {
    page.strip_prefix(workspace()).unwrap().display().to_string()
}

/// A fenced block: its language, its text, and why it is not run.
struct Block {
    language: String,
    text: String,
    not_run: Option<String>,
}

fn blocks(page: &Path) -> Vec<Block> {
    let text = fs::read_to_string(page).unwrap();
    let (mut found, mut not_run) = (Vec::new(), None);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            found.push(Block { language: language.to_owned(), text: text.join("\n") + "\n", not_run: not_run.take() });
        } else if let Some(why) = line.strip_prefix("<!-- not run: ").and_then(|rest| rest.strip_suffix(" -->")) {
            not_run = Some(why.to_owned());
        } else if !line.is_empty() {
            not_run = None;
        }
    }
    found
}

#[test]
fn every_block_has_a_language_that_is_run_or_says_why_not() {
    let mut wrong = Vec::new();
    for page in pages() {
        for block in blocks(&page) {
            let known = ["console", "toml", "text", "Dockerfile", "dockerfile", "json", "rust", "rust,no_run"];
            let in_doctests = name(&page) == "docs/guide/embedding.md";
            if !known.contains(&block.language.as_str()) || block.language.starts_with("rust") && !in_doctests {
                wrong.push(format!("{}: a block of '{}'", name(&page), block.language));
            }
            if block.not_run.is_some_and(|why| why.len() < 10) {
                wrong.push(format!("{}: a block that is not run, for no reason", name(&page)));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn examples_run_as_they_stand() {
    if !privileged(&["runc", "curl", "busybox", "ip", "nft"]) {
        return;
    }
    let pages: Vec<PathBuf> = pages().into_iter().filter(|page| !script(page).is_empty()).collect();
    assert!(pages.len() >= 4, "{pages:?}");
    assert_no_problems(&pages, |_, page| {
        let dir = tempfile::tempdir().unwrap();
        furnish(dir.path());
        let mut shell = Command::new("bash");
        shell.args(["-euxo", "pipefail", "-c", &format!("{PRELUDE}\n{}", script(page))]).current_dir(dir.path());
        // The binary under test may have another name.
        std::os::unix::fs::symlink(drydock(), dir.path().join("bin/drydock")).unwrap();
        let path = format!("{}:{}", dir.path().join("bin").display(), std::env::var("PATH").unwrap());
        shell.env("PATH", path).env("DRYDOCK_STATE", dir.path().join("state")).env("HOME", dir.path());
        let output = shell.output().unwrap();
        if output.status.success() {
            return Vec::new();
        }
        let [said, steps] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        vec![format!("{}: {}\n{said}\n{steps}", name(page), output.status)]
    });
}

/// What every example finds: a Dockerfile, a root file system as a tar, and it as a base image.
fn furnish(dir: &Path) {
    fs::create_dir(dir.join("bin")).unwrap();
    fs::write(dir.join("Dockerfile"), "FROM nodeops/sandbox:debian\nRUN echo hello >/hello\n").unwrap();
    busybox_base(dir);
    fs::rename(dir.join("busybox.tar"), dir.join("rootfs.tar")).unwrap();
    run(Command::new(drydock()).args(["image", "import", "rootfs.tar", "oci:base:debian"]).current_dir(dir));
}

/// The commands of a page, in order.
fn script(page: &Path) -> String {
    let mut script = String::new();
    for block in blocks(page).into_iter().filter(|block| block.not_run.is_none()) {
        match block.language.as_str() {
            "console" => {
                for line in block.text.lines() {
                    let command = line.strip_prefix("$ ").or(line.strip_prefix("# ")).unwrap_or(line);
                    script +=
                        &command.replace("http://127.0.0.1:8080", "$SERVED_URL").replace("ddk_...", "$SERVED_KEY");
                    script += "\n";
                }
            }
            "toml" => {
                script += &format!("cat >example.toml <<'END'\n{}END\n", block.text);
                script += "drydock serve --config example.toml --print-config >/dev/null\n";
            }
            _ => {}
        }
    }
    script
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split([')', '\n']).next().unwrap();
            let (file, _) = target.split_once('#').unwrap_or((target, ""));
            if !file.is_empty() && !target.contains("://") && !page.parent().unwrap().join(file).exists() {
                broken.push(format!("{}: {target}", name(&page)));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// `docs/security.md` names tests as `file.rs::test`, by the end of the file's path.
#[test]
fn the_tests_that_the_threat_model_names_exist() {
    let text = fs::read_to_string(workspace().join("docs/security.md")).unwrap();
    let sources = sources();
    let (mut named, mut missing) = (0, Vec::new());
    for word in text.split('`').filter(|word| word.contains(".rs::")) {
        let (file, test) = word.split_once("::").unwrap();
        named += 1;
        let is_there = |(path, source): &(String, String)| {
            path.ends_with(&format!("/{file}"))
                && ["(", "<"].iter().any(|after| source.contains(&format!("fn {test}{after}")))
                && ["#[test]", "#[tokio::test", "proptest!"].iter().any(|mark| source.contains(mark))
        };
        if !sources.iter().any(is_there) {
            missing.push(word);
        }
    }
    assert!(named >= 40, "only {named} tests are named");
    assert!(missing.is_empty(), "{missing:#?}");
    for row in text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what")) {
        assert!(row.contains(".rs::") || row.contains("nobody:"), "a threat without a test: {row}");
    }
}

/// Every source of the workspace: its path from the root, and its text.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![workspace().join("crates"), workspace().join("tests"), workspace().join("benches")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                if entry.file_name() != "target" {
                    folders.push(entry.path());
                }
            } else if entry.path().extension().is_some_and(|extension| extension == "rs") {
                found.push((name(&entry.path()), fs::read_to_string(entry.path()).unwrap()));
            }
        }
    }
    found
}

/// Three system calls that `rustix` does not have, in one file. Every other crate forbids `unsafe`.
#[test]
fn unsafe_is_where_it_is_said_to_be() {
    let (mut places, mut forbidding) = (Vec::new(), BTreeSet::new());
    for (path, source) in sources() {
        let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
        let blocks =
            code.filter(|line| line.contains("unsafe {") || line.contains("unsafe fn") || line.contains("unsafe impl"));
        let blocks = blocks.filter(|line| !line.contains("line.contains")).count();
        if blocks > 0 {
            places.push((path.clone(), blocks));
        }
        if source.contains("#![forbid(unsafe_code)]") {
            forbidding.insert(path);
        }
    }
    assert_eq!(places, [("crates/buildengine/src/sandbox/kernel.rs".to_owned(), 3)]);
    for entry in fs::read_dir(workspace().join("crates")).unwrap().map(Result::unwrap) {
        let root =
            ["src/lib.rs", "src/main.rs"].map(|file| entry.path().join(file)).into_iter().find(|file| file.exists());
        let root = name(&root.unwrap());
        assert!(
            forbidding.contains(&root) || root == "crates/buildengine/src/lib.rs",
            "{root} does not forbid unsafe code"
        );
    }
}

#[test]
fn the_unit_of_systemd_is_one_and_stays_hardened() {
    if !privileged(&["systemd-analyze"]) {
        return;
    }
    let analyze = "systemd-analyze";
    let dir = tempfile::tempdir().unwrap();
    let unit = dir.path().join("drydock.service");
    let text = fs::read_to_string(workspace().join("packaging/drydock.service")).unwrap();
    // It is verified with the binary in its place.
    fs::write(&unit, text.replace("/usr/local/bin/drydock", &drydock().display().to_string())).unwrap();
    let verified = run(Command::new(analyze).args(["verify", "--man=no"]).arg(&unit));
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(!said.contains("drydock.service"), "{said}");
    // What is left is what mounting and containers need; it must not become more.
    run(Command::new(analyze).args(["security", "--offline=true", "--threshold=75", "--no-pager"]).arg(&unit));
}
