//! What instructions mean: each Dockerfile of the table is built for real and looks at itself, and its config is compared.
//!
//! Source of truth: the Dockerfile reference, and what BuildKit does where that is silent.

use std::fs;
use std::path::Path;
use std::process::Command;

use drydock_tests::{assert_no_problems, base_image, busybox_base, cache, drydock, privileged, run};
use serde_json::Value;

/// A Dockerfile that has to build.
struct Row {
    name: &'static str,
    dockerfile: &'static str,
    /// More arguments of `drydock build`.
    more: &'static [&'static str],
    /// Places of the image's config (JSON pointers) and what has to be there (JSON; empty: nothing).
    config: &'static [(&'static str, &'static str)],
}

const fn row(name: &'static str, dockerfile: &'static str, config: &'static [(&'static str, &'static str)]) -> Row {
    Row { name, dockerfile, more: &[], config }
}

const ROWS: &[Row] = &[
    row(
        "ENV: forms, and values from before the instruction",
        r#"FROM base
ENV A=1 B="two words" C=three\ words
ENV A=2 E=$A F="${A}x"
RUN test "$A|$B|$C|$E|$F" = "2|two words|three words|1|1x"
RUN A=3; test "$A" = 3
RUN test "$A" = 2
"#,
        &[(
            "/config/Env",
            r#"["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","A=2","B=two words","C=three words","E=1","F=1x"]"#,
        )],
    ),
    row(
        "expansion: every form",
        r#"FROM base
ENV EMPTY= SET=value DIR=/a/b/c.txt
ENV X1=${SET} X2=${UNSET:-default} X3=${EMPTY:-default} X4=${EMPTY-default} X5=${SET:+alt} X6=${UNSET:+alt} X7=\$SET X8='$SET' X9="$SET"
ENV Y1=${DIR#*/} Y2=${DIR##*/} Y3=${DIR%.*} Y4=${SET/l/L} Y5=${UNSET:-${SET}} Y6=a${UNSET}b
RUN test "$X1|$X2|$X3|$X4|$X5|$X6" = "value|default|default||alt|"
RUN test "$X7|$X8|$X9" = '$SET|$SET|value'
RUN test "$Y1|$Y2|$Y3|$Y4|$Y5|$Y6" = "a/b/c.txt|c.txt|/a/b/c|vaLue|value|ab"
"#,
        &[],
    ),
    row(
        "expansion: which instructions do it",
        r#"FROM base
ENV V=/vol P=8080 S=SIGUSR1 W=/work U=nobody L=label
LABEL name.$L="the $L" raw='$L'
EXPOSE $P
VOLUME $V
STOPSIGNAL $S
WORKDIR $W
USER $U
CMD ["echo", "$L"]
HEALTHCHECK CMD echo $L
RUN test "$(pwd)|$(id -un)" = "/work|nobody"
"#,
        &[
            ("/config/Labels/name.label", r#""the label""#),
            ("/config/Labels/raw", r#""$L""#),
            ("/config/ExposedPorts", r#"{"8080/tcp":{}}"#),
            ("/config/Volumes", r#"{"/vol":{}}"#),
            ("/config/StopSignal", r#""SIGUSR1""#),
            ("/config/WorkingDir", r#""/work""#),
            ("/config/User", r#""nobody""#),
            ("/config/Cmd", r#"["echo","$L"]"#),
            ("/config/Healthcheck/Test", r#"["CMD-SHELL","echo $L"]"#),
        ],
    ),
    Row {
        name: "ARG: default, given, none; not in the image; ENV wins",
        dockerfile: r#"FROM base
ARG V=default
ARG W
ARG GIVEN=overridden NEXT=$V-x
RUN test "$V|${W-unset}|$GIVEN|$NEXT" = "default|unset|given|default-x"
ENV KEPT=$GIVEN V=env
RUN test "$V|$KEPT" = "env|given"
ARG V=again
RUN test "$V" = env || test "$V" = again
"#,
        more: &["--build-arg", "GIVEN=given", "--build-arg", "W2=unused"],
        config: &[(
            "/config/Env",
            r#"["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","KEPT=given","V=env"]"#,
        )],
    },
    row(
        "ARG before FROM: known where it is declared again",
        "ARG G=global\nFROM small\nRUN test -z \"$G\"\nARG G\nRUN test \"$G\" = global\n",
        &[],
    ),
    Row {
        name: "ARG: the predefined ones",
        dockerfile: r#"FROM base
RUN test "$HTTP_PROXY|$no_proxy" = "http://proxy.invalid|localhost"
RUN test -z "$TARGETOS$BUILDPLATFORM"
ARG TARGETOS TARGETARCH
RUN test "$TARGETOS" = linux && test "$TARGETARCH" = "$(dpkg --print-architecture)"
"#,
        more: &["--build-arg", "HTTP_PROXY=http://proxy.invalid", "--build-arg", "no_proxy=localhost"],
        config: &[("/config/Env/1", "")],
    },
    row(
        "WORKDIR: relative, made with its parents, found as it is",
        r#"FROM base
WORKDIR /a
WORKDIR b
WORKDIR ../c/./d/
RUN test "$(pwd)" = /a/c/d && test "$(stat -c %u:%g:%a /a/c /a/c/d | sort -u)" = 0:0:755
WORKDIR /tmp
RUN test "$(stat -c %a .)" = 1777
RUN ln -s /srv /link
WORKDIR /link/below
RUN test "$(pwd -P)" = /srv/below
"#,
        &[("/config/WorkingDir", r#""/link/below""#)],
    ),
    row(
        "WORKDIR: what it makes belongs to USER",
        r#"FROM base
RUN useradd --uid 1234 --user-group app
USER app
WORKDIR /home/app/work
RUN test "$(stat -c %U:%G /home/app /home/app/work | sort -u)" = app:app && touch mine
WORKDIR /etc
RUN test "$(stat -c %U .)" = root
"#,
        &[],
    ),
    row(
        "USER: names, numbers and groups",
        r#"FROM base
RUN groupadd -g 2000 one && groupadd -g 2001 two && useradd -m -u 1000 -g one -G two u
USER u
RUN test "$(id -u):$(id -g):$(id -G)" = "1000:2000:2000 2001" && test "$HOME" = /home/u
USER u:two
RUN test "$(id -u):$(id -g):$(id -G)" = 1000:2001:2001
USER 1000
RUN test "$(id -u):$(id -g):$(id -G)" = "1000:2000:2000 2001"
USER 4242
RUN test "$(id -u):$(id -g)" = 4242:0
USER 4242:4343
RUN test "$(id -u):$(id -g):$(id -G)" = 4242:4343:4343
USER root
RUN test "$(id -u):$(id -g)" = 0:0 && test "$HOME" = /root
"#,
        &[("/config/User", r#""root""#)],
    ),
    row(
        "SHELL: for RUN, CMD and ENTRYPOINT in their shell form alone",
        r#"FROM base
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN if false | true; then exit 1; fi; [[ $0 == /bin/bash ]]
RUN ["/bin/sh", "-c", "test \"$0\" = dash", "dash"]
ENTRYPOINT exec "$@"
CMD echo $HOME
"#,
        &[
            ("/config/Shell", r#"["/bin/bash","-o","pipefail","-c"]"#),
            ("/config/Entrypoint", r#"["/bin/bash","-o","pipefail","-c","exec \"$@\""]"#),
            ("/config/Cmd", r#"["/bin/bash","-o","pipefail","-c","echo $HOME"]"#),
        ],
    ),
    row(
        "RUN: shell form over lines, exec form without a shell",
        r##"FROM base
ENV A=1
RUN a=1; \
    # not a part of it
    test "$a" = 1 && \
    test '#' = "#"
RUN ["/usr/bin/test", "$A", "=", "\u0024A"]
RUN ["/bin/sh", "-c", "test $# = 2 && test \"$1\" = 'a b'", "sh", "a b", ""]
RUN ["true"]
RUN test "$(cat)" = "" && test ! -t 0 && test "$(umask)" = 0022
"##,
        &[],
    ),
    row(
        "escape directive",
        "# escape=`\nFROM small\nRUN test a `\n  = a && test 'a\\b' = 'a\\b'\nENV P=C:\\x\nRUN test \"$P\" = 'C:\\x'\n",
        &[],
    ),
    row(
        "RUN heredoc: a script of the shell",
        "FROM small\nENV A=outer\nRUN <<EOF\nset -e\nX=1\ntest \"$X$A\" = 1outer\necho ok >/ok\nEOF\nRUN <<-EOF\n\tcat /ok >/ok2\n\ttest -s /ok2\n\tEOF\nRUN <<EOF\nfalse\ntrue\nEOF\n",
        &[],
    ),
    row(
        "RUN heredoc: a script of its own interpreter",
        "FROM base\nRUN <<EOF\n#!/usr/bin/perl\nopen(F, '>', '/tmp/perl'); print F \"$0 @ARGV\";\nEOF\nRUN test \"$(cat /tmp/perl)\" = '/dev/pipes/EOF ' && test ! -e /dev/pipes\nUSER nobody\nRUN <<SCRIPT\n#!/bin/bash\n[[ $UID -ne 0 && $0 == /dev/pipes/SCRIPT && ! -w $0 ]]\nSCRIPT\nRUN <<-TABS\n\t#!/usr/bin/env perl\n\texit(0);\nTABS\n",
        &[],
    ),
    row(
        "RUN heredoc: input of commands",
        "FROM base\nENV A=1\nRUN cat <<EOF >/expanded && cat <<'EOF' >/raw\nA is $A\nEOF\nA is $A\nEOF\nRUN test \"$(cat /expanded)\" = 'A is 1' && test \"$(cat /raw)\" = 'A is $A'\nRUN perl <<EOF\nopen(F, '>', '/perl');\nEOF\nRUN test -e /perl\nRUN cat <<ONE - <<TWO >/both\none\nONE\ntwo\nTWO\nRUN test \"$(cat /both)\" = two\n",
        &[],
    ),
    row(
        "RUN --mount=type=cache: kept beside the image",
        r#"FROM base
RUN --mount=type=cache,target=/c echo 1 >/c/f
RUN test ! -e /c
RUN --mount=type=cache,target=/c test "$(cat /c/f)" = 1
RUN --mount=type=cache,id=/c,target=/other test "$(cat /other/f)" = 1
RUN --mount=type=cache,target=/c,readonly test -e /c/f && if touch /c/g; then exit 1; fi
RUN --mount=type=cache,id=own,target=/own,uid=7,gid=8,mode=0750 test "$(stat -c %u:%g:%a /own)" = 7:8:750
RUN --mount=type=cache,id=locked,target=/l,sharing=locked --mount=type=cache,id=p,target=/p,sharing=private touch /l/x /p/x
"#,
        &[],
    ),
    row(
        "RUN --mount: variables, and targets relative to WORKDIR",
        "FROM small\nARG NAME=kept\nWORKDIR /w\nRUN --mount=type=cache,id=$NAME,target=rel echo 1 >/w/rel/f\nRUN --mount=type=cache,id=kept,target=/k test -e /k/f\n",
        &[],
    ),
    row(
        "RUN --mount=type=tmpfs: of its size, gone after the step",
        r#"FROM base
RUN --mount=type=tmpfs,target=/t,size=1m head -c 500k /dev/zero >/t/f && if head -c 2M /dev/zero >/t/g; then exit 1; fi
RUN --mount=type=tmpfs,target=/t test -z "$(ls -A /t)"
RUN --mount=type=tmpfs,target=/etc test ! -e /etc/passwd
RUN test -e /etc/passwd && test ! -e /t
"#,
        &[],
    ),
    row(
        "RUN --network=none: a loopback device alone",
        "FROM small\nRUN --network=none test \"$(ls /sys/class/net)\" = lo\nRUN --network=default true\n",
        &[],
    ),
    row(
        "steps that change nothing make no layer",
        "FROM small\nRUN true\nWORKDIR /tmp\nENV A=1\nRUN : >/dev/null\nRUN echo 1 >/y\n",
        &[("/rootfs/diff_ids/2", ""), ("/history/1/empty_layer", "true"), ("/history/2/empty_layer", "true")],
    ),
    row(
        "removals and replacements",
        r#"FROM base
RUN mkdir -p /d/sub && touch /d/a /d/sub/b && ln -s a /d/l
RUN rm -r /d && mkdir /d && touch /d/new
RUN test "$(ls -A /d)" = new
RUN rm -r /d && echo file >/d && rm /etc/motd
RUN test -f /d && test ! -e /etc/motd
"#,
        &[],
    ),
    row(
        "names of instructions in any case, FROM with a name",
        "from small as final\nrun true\nenv A=1\nRun test $A = 1\n",
        &[],
    ),
    row(
        "CMD: the last one counts, in its shell form",
        "FROM small\nCMD [\"a\"]\nCMD echo \"b c\" $D\n",
        &[("/config/Cmd", r#"["/bin/sh","-c","echo \"b c\" $D"]"#), ("/config/Entrypoint", "")],
    ),
    row(
        "CMD: an empty list",
        "FROM commands\nCMD []\n",
        &[("/config/Cmd", ""), ("/config/Entrypoint", r#"["entry"]"#)],
    ),
    row(
        "ENTRYPOINT: the CMD of the base goes",
        "FROM commands\nENTRYPOINT [\"new\"]\n",
        &[("/config/Entrypoint", r#"["new"]"#), ("/config/Cmd", "")],
    ),
    row(
        "ENTRYPOINT: the file's own CMD stays, before and after",
        "FROM commands\nCMD [\"mine\"]\nENTRYPOINT [\"new\", \"x\"]\n",
        &[("/config/Entrypoint", r#"["new","x"]"#), ("/config/Cmd", r#"["mine"]"#)],
    ),
    row(
        "what the base says stays until it is replaced",
        "FROM commands\nLABEL two=2\nEXPOSE 81\nVOLUME [\"/more\"]\nENV OWN=1\nRUN test \"$FROM_BASE|$OWN|$(pwd)|$(id -u)\" = 'yes|1|/base|12'\n",
        &[
            ("/config/Entrypoint", r#"["entry"]"#),
            ("/config/Cmd", r#"["default"]"#),
            ("/config/Labels", r#"{"one":"1","two":"2"}"#),
            ("/config/ExposedPorts", r#"{"80/tcp":{},"81/tcp":{}}"#),
            ("/config/Volumes", r#"{"/data":{},"/more":{}}"#),
            ("/config/StopSignal", r#""SIGQUIT""#),
            ("/config/User", r#""12:34""#),
            ("/config/Healthcheck/Test", r#"["CMD","check"]"#),
            ("/author", r#""Base Author""#),
        ],
    ),
    row(
        "EXPOSE: protocols and ranges",
        "FROM small\nEXPOSE 80 443/tcp 53/udp 8000-8002\n",
        &[(
            "/config/ExposedPorts",
            r#"{"443/tcp":{},"53/udp":{},"80/tcp":{},"8000/tcp":{},"8001/tcp":{},"8002/tcp":{}}"#,
        )],
    ),
    row(
        "VOLUME: words and JSON; its files are kept",
        "FROM small\nVOLUME /a /b\nVOLUME [\"/c d\"]\nRUN mkdir /a && echo 1 >/a/f\nRUN test -s /a/f\n",
        &[("/config/Volumes", r#"{"/a":{},"/b":{},"/c d":{}}"#)],
    ),
    row(
        "LABEL: several, quoted, over lines; the last value counts",
        "FROM small\nLABEL a=1 b=\"two words\" \\\n  \"c d\"=x\nLABEL a=2\n",
        &[("/config/Labels", r#"{"a":"2","b":"two words","c d":"x"}"#)],
    ),
    row(
        "HEALTHCHECK: options in nanoseconds",
        "FROM small\nHEALTHCHECK --interval=5m --timeout=3s --start-period=1m30s --start-interval=500ms --retries=4 CMD [\"curl\", \"-f\", \"x\"]\n",
        &[(
            "/config/Healthcheck",
            r#"{"Test":["CMD","curl","-f","x"],"Interval":300000000000,"Timeout":3000000000,"StartPeriod":90000000000,"StartInterval":500000000,"Retries":4}"#,
        )],
    ),
    row("HEALTHCHECK NONE", "FROM commands\nHEALTHCHECK NONE\n", &[("/config/Healthcheck", r#"{"Test":["NONE"]}"#)]),
    row("STOPSIGNAL: a number", "FROM small\nSTOPSIGNAL 9\n", &[("/config/StopSignal", r#""9""#)]),
    row(
        "MAINTAINER: the author, as it stands",
        "FROM commands\nMAINTAINER A. $U <a@example.com>\n",
        &[("/author", r#""A. $U <a@example.com>""#)],
    ),
    row(
        "history: one line an instruction",
        "FROM small\nENV A=1\nRUN echo 1 >/f\nCMD [\"x\"]\n",
        &[
            ("/history/1/created_by", r#""ENV A=1""#),
            ("/history/1/empty_layer", "true"),
            ("/history/2/created_by", r#""RUN echo 1 >/f""#),
            ("/history/2/empty_layer", ""),
            ("/history/3/empty_layer", "true"),
        ],
    ),
];

/// The base whose config says something about everything.
const COMMANDS: &str = r#"FROM small
MAINTAINER Base Author
ENV FROM_BASE=yes
WORKDIR /base
USER 12:34
ENTRYPOINT ["entry"]
CMD ["default"]
LABEL one=1
EXPOSE 80
VOLUME /data
STOPSIGNAL SIGQUIT
HEALTHCHECK CMD ["check"]
"#;

/// Where the rows are built: one state, so that the base is unpacked once.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir_in(cache()).unwrap());
        busybox_base(place.0.path());
        let layout = format!("oci:{}:commands", place.0.path().join("commands").display());
        run(place.command("commands", COMMANDS).args(["--oci", &layout]));
        place
    }

    fn command(&self, name: &str, dockerfile: &str) -> Command {
        let path = |end: &str| self.0.path().join(format!("{name}.{end}"));
        fs::write(path("Dockerfile"), dockerfile).unwrap();
        let mut command = Command::new(drydock());
        command.arg("build").arg("-f").arg(path("Dockerfile")).args(["--base", &format!("base={}", base_image())]);
        for (name, layout) in [("small", "layout"), ("commands", "commands")] {
            let tag = if name == "small" { "busybox" } else { "commands" };
            command.args(["--base", &format!("{name}=oci:{}:{tag}", self.0.path().join(layout).display())]);
        }
        command.args(["--size", "auto", "--format", "json", "--state"]).arg(self.0.path().join("state"));
        command.arg("-o").arg(path("ext4"));
        command
    }

    /// What is wrong with a row.
    fn problems(&self, number: usize, row: &Row) -> Vec<String> {
        let name = format!("row-{number}");
        let output = self.command(&name, row.dockerfile).args(row.more).output().unwrap();
        remove(&self.0.path().join(format!("{name}.ext4")));
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return vec![format!("{}: {}\n{said}", row.name, output.status)];
        }
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let differs = |(pointer, wanted): &&(&str, &str)| {
            let wanted = (!wanted.is_empty()).then(|| serde_json::from_str::<Value>(wanted).unwrap());
            report["config"].pointer(pointer) != wanted.as_ref()
        };
        let wrong = row.config.iter().filter(differs).map(|(pointer, wanted)| {
            let found = report["config"].pointer(pointer);
            format!("{}: {pointer} is {}, not {wanted}", row.name, found.unwrap_or(&Value::Null))
        });
        wrong.collect()
    }
}

/// Images of the whole base would fill the disk.
fn remove(image: &Path) {
    let _ = fs::remove_file(image);
}

#[test]
fn instructions_mean_what_the_reference_says() {
    if !privileged(&["mmdebstrap", "runc", "busybox"]) {
        return;
    }
    let place = Place::new();
    assert_no_problems(ROWS, |number, row| place.problems(number, row));
}
