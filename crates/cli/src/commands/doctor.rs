//! `drydock doctor`: what this host can and cannot do, and how to mend it. Each answer is seen by trying.

use std::path::Path;
use std::process::ExitCode;

use buildengine::sandbox::{Capability, OciRuntime};
use serde_json::json;

use crate::args::{Doctor, Format};
use crate::output::line;

pub(crate) fn run(args: &Doctor) -> anyhow::Result<ExitCode> {
    let mut findings = vec![state_directory(&args.state.dir)];
    let scratch = args.state.dir.join("scratch");
    let runtime = match &args.runtime {
        Some(path) => OciRuntime::at(path, &scratch),
        None => OciRuntime::find(&scratch),
    };
    match runtime.and_then(|runtime| runtime.probe(&scratch)) {
        Ok(probe) => {
            let detail = format!("{}, {}: ran a command in a full sandbox", probe.path.display(), probe.version);
            findings.push(Capability { name: "RUN steps", works: true, detail });
            findings.extend(probe.capabilities);
        }
        Err(error) => {
            let detail = format!("{:#}", anyhow::Error::from(error));
            findings.push(Capability { name: "RUN steps", works: false, detail });
        }
    }
    let no_root = "needs no root, no mount and no e2fsprogs".to_owned();
    findings.push(Capability { name: "check, plan, image", works: true, detail: no_root });
    print(&findings, args.format)?;
    let well = findings.iter().all(|finding| finding.works);
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn state_directory(dir: &Path) -> Capability {
    let tried = std::fs::create_dir_all(dir).and_then(|()| tempfile::tempfile_in(dir).map(|_| ()));
    let (works, detail) = match tried {
        Ok(()) => (true, format!("{} can be written", dir.display())),
        Err(error) => (false, format!("{} can't be written ({error}); name another with --state", dir.display())),
    };
    Capability { name: "state directory", works, detail }
}

fn print(findings: &[Capability], format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        line(format_args!("{}", serde_json::to_string_pretty(&json!({ "findings": findings }))?))?;
        return Ok(());
    }
    for finding in findings {
        let mark = if finding.works { "ok" } else { "NO" };
        line(format_args!("{mark:<3} {:<36} {}", finding.name, finding.detail.replace('\n', "\n      ")))?;
    }
    Ok(())
}
