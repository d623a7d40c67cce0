//! `drydock doctor`: what this host can and cannot do, and how to mend it. Each answer is seen by trying.

use std::path::Path;
use std::process::ExitCode;

use buildengine::sandbox::{Candidate, Capability, OciRuntime, candidates};
use drydock::explain;
use serde_json::json;

use crate::args::{Doctor, Format};
use crate::output::line;

pub(crate) fn run(args: &Doctor) -> anyhow::Result<ExitCode> {
    let mut findings = vec![state_directory(&args.state.dir)];
    let scratch = args.state.dir.join("scratch");
    let candidates = candidates(args.runtime.as_deref(), &scratch, &args.allow_missing);
    findings.extend(candidates.iter().map(runtime));
    let works = |candidate: &&Candidate| matches!(candidate.tried, Some((_, Ok(_))));
    match candidates.iter().find(works).and_then(|candidate| candidate.tried.as_ref()?.1.as_ref().ok()) {
        Some(runtime) => {
            findings.push(required("RUN steps", true, format!("run by {}", runtime.path().display())));
            findings.extend(runtime.capabilities(&scratch));
        }
        None => {
            let fix = "no OCI runtime works on this host: see above, or install one (Debian: apt-get install runc), and run as root";
            findings.push(required("RUN steps", false, fix.to_owned()));
        }
    }
    findings.push(required("check, plan, image", true, "needs no root, no mount and no e2fsprogs".to_owned()));
    print(&findings, args.format)?;
    let well = findings.iter().all(|finding| finding.works || !finding.required);
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn required(name: &str, works: bool, detail: String) -> Capability {
    Capability { name: name.to_owned(), works, required: true, detail }
}

/// One of several: none of them is required by itself.
fn runtime(candidate: &Candidate) -> Capability {
    let works = |path: &Path, runtime: &OciRuntime| match runtime.version() {
        Ok(version) => format!("{}, {version}: ran a command in a full sandbox", path.display()),
        Err(error) => format!("{}: ran a command in a full sandbox, but {}", path.display(), explain(&error)),
    };
    let (works, detail) = match &candidate.tried {
        None => (false, "not installed".to_owned()),
        Some((path, Ok(runtime))) => (true, works(path, runtime)),
        Some((path, Err(error))) => (false, format!("{}: {}", path.display(), explain(error))),
    };
    Capability { name: format!("runtime {}", candidate.name), works, required: false, detail }
}

fn state_directory(dir: &Path) -> Capability {
    let tried = std::fs::create_dir_all(dir).and_then(|()| tempfile::tempfile_in(dir).map(|_| ()));
    match tried {
        Ok(()) => required("state directory", true, format!("{} can be written", dir.display())),
        Err(error) => {
            let detail = format!("{} can't be written ({error}); name another with --state", dir.display());
            required("state directory", false, detail)
        }
    }
}

fn print(findings: &[Capability], format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        line(format_args!("{}", serde_json::to_string_pretty(&json!({ "findings": findings }))?))?;
        return Ok(());
    }
    for finding in findings {
        let mark = match (finding.works, finding.required) {
            (true, _) => "ok",
            (false, true) => "NO",
            (false, false) => "--",
        };
        line(format_args!("{mark:<3} {:<36} {}", finding.name, finding.detail.replace('\n', "\n      ")))?;
    }
    Ok(())
}
