//! The table of diagnostic codes. Each entry is the source of its page in `docs/diagnostics/`.

use serde::Serialize;

use crate::diagnostic::Severity;

/// Which part of the work finds a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// BuildKit's first stage: text to syntax tree.
    Parse,
    /// BuildKit's second stage: syntax tree to typed instructions.
    Instruction,
    /// BuildKit's third stage: instructions to configuration and operations.
    Convert,
    /// The strict subset; BuildKit accepts it.
    Strict,
    /// The service's restrictions; BuildKit accepts it.
    Policy,
    /// Advice.
    Lint,
}

/// What the page of a code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The stable name, for example `unknown-instruction`; BuildKit's rules keep their own names.
    pub name: &'static str,
    /// Which part of the work finds it.
    pub group: Group,
    /// How bad it is unless changed.
    pub severity: Severity,
    /// A few words.
    pub title: &'static str,
    /// What is wrong.
    pub what: &'static str,
    /// Why it matters.
    pub why: &'static str,
    /// An example that has the problem.
    pub bad: &'static str,
    /// The same without it.
    pub good: &'static str,
}

macro_rules! codes {
    ($($group:ident $severity:ident {
        $($code:ident $name:literal $title:literal {
            what: $what:literal, why: $why:literal, bad: $bad:literal, good: $good:literal $(,)?
        })*
    })*) => {
        /// What kind of problem a diagnostic is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[doc = $title] $code,)*)*
        }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Self] = &[$($(Self::$code,)*)*];

            /// Everything there is to say about the code.
            #[must_use]
            pub fn page(self) -> &'static Page {
                match self {
                    $($(Self::$code => &Page {
                        name: $name,
                        group: Group::$group,
                        severity: Severity::$severity,
                        title: $title,
                        what: $what,
                        why: $why,
                        bad: $bad,
                        good: $good,
                    },)*)*
                }
            }
        }
    };
}

impl Code {
    /// The stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.page().name
    }

    /// Which part of the work finds it.
    #[must_use]
    pub fn group(self) -> Group {
        self.page().group
    }

    /// How bad it is unless changed.
    #[must_use]
    pub fn severity(self) -> Severity {
        self.page().severity
    }

    /// The code called `name`, exactly.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name() == name)
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

codes! {
    Parse Error {
        NoInstructions "no-instructions" "the file has no instructions" {
            what: "The file is empty, or holds only comments and blank lines.",
            why: "There is nothing to build from.",
            bad: "# only a comment",
            good: "FROM debian:12",
        }
        SourceTooLarge "source-too-large" "the file is too large to read" {
            what: "The file is longer than the parser looks at (64 MiB).",
            why: "Every input has a bound, so that no file can exhaust memory.",
            bad: "(a file of 70 MiB)",
            good: "(the same steps in a script the build fetches)",
        }
        DuplicateDirective "duplicate-directive" "a parser directive is given twice" {
            what: "`# syntax=`, `# escape=` and `# check=` may each stand once at the top of the file.",
            why: "BuildKit refuses the file, since it cannot know which one is meant.",
            bad: "# escape=`\n# escape=`\nFROM debian:12",
            good: "# escape=`\nFROM debian:12",
        }
        InvalidEscapeDirective "invalid-escape-directive" "the escape directive names another character" {
            what: "`# escape=` takes a backslash or a backtick.",
            why: "The character continues lines and quotes others; no third one exists.",
            bad: "# escape=^\nFROM debian:12",
            good: "# escape=`\nFROM debian:12",
        }
        LineTooLong "line-too-long" "a line is longer than 65,535 bytes" {
            what: "One physical line of the file exceeds BuildKit's line buffer.",
            why: "BuildKit stops reading there. Lines joined by a continuation have no such limit.",
            bad: "RUN echo aaaa...",
            good: "RUN echo aaaa... \\\n    aaaa...",
        }
        UnterminatedHeredoc "unterminated-heredoc" "a heredoc is never closed" {
            what: "No line after the instruction consists of the terminator alone.",
            why: "The terminator must stand on a line of its own, without blanks before or after it (`<<-` allows leading tabs).",
            bad: "RUN <<EOF\necho hello\n  EOF",
            good: "RUN <<EOF\necho hello\nEOF",
        }
        JsonNotStrings "json-not-strings" "a JSON array holds something other than strings" {
            what: "The exec form takes strings only; numbers, `true`, `null`, objects and arrays are refused.",
            why: "Every element becomes one argument of a process, and arguments are text.",
            bad: "CMD [\"sleep\", 10]",
            good: "CMD [\"sleep\", \"10\"]",
        }
        MissingEquals "missing-equals" "a word has no `=`" {
            what: "After a first `name=value`, every further word of `ENV` or `LABEL` must be one too.",
            why: "A value with blanks needs quotes; without them its second word looks like another name.",
            bad: "ENV GREETING=hello world",
            good: "ENV GREETING=\"hello world\"",
        }
        MissingValue "missing-value" "a name has no value" {
            what: "`ENV NAME` and `LABEL name` need a value.",
            why: "An empty value is written `NAME=`.",
            bad: "ENV DEBUG",
            good: "ENV DEBUG=",
        }
    }
    Instruction Error {
        UnknownInstruction "unknown-instruction" "an unknown instruction" {
            what: "The line does not begin with an instruction.",
            why: "Usually a typing error, or a line that belongs to the one before, whose continuation character is missing.",
            bad: "RUM apt-get update",
            good: "RUN apt-get update",
        }
        MissingArgument "missing-argument" "an instruction lacks an argument" {
            what: "The instruction needs more than was given.",
            why: "Without it there is nothing to do.",
            bad: "WORKDIR",
            good: "WORKDIR /srv",
        }
        FromArguments "from-arguments" "FROM has a wrong number of words" {
            what: "`FROM` takes an image, or an image, `AS` and a name.",
            why: "Anything else is a mistake, most often a comment at the end of the line: a `#` starts a comment only at the start of a line.",
            bad: "FROM debian:12 # stable",
            good: "# stable\nFROM debian:12",
        }
        InvalidStageName "invalid-stage-name" "a stage name has characters that are not allowed" {
            what: "A stage name starts with a letter and goes on with letters, digits, `-`, `_` and `.`.",
            why: "Numbers are stage indexes, and other characters cannot be told from image references.",
            bad: "FROM debian:12 AS 1st",
            good: "FROM debian:12 AS first",
        }
        BlankName "blank-name" "a name is empty" {
            what: "`ENV`, `LABEL` and `ARG` need a name before the `=`.",
            why: "There is no variable without a name.",
            bad: "ENV =value",
            good: "ENV NAME=value",
        }
        UnknownFlag "unknown-flag" "an unknown flag" {
            what: "The instruction has no such flag.",
            why: "Words that start with `--` before the arguments are flags of the instruction, not of the command.",
            bad: "RUN --mnt=type=tmpfs,target=/tmp make",
            good: "RUN --mount=type=tmpfs,target=/tmp make",
        }
        DuplicateFlag "duplicate-flag" "a flag is given twice" {
            what: "Only `--mount`, `--device` and `--exclude` may be repeated.",
            why: "Two values would contradict each other.",
            bad: "HEALTHCHECK --retries=1 --retries=2 CMD true",
            good: "HEALTHCHECK --retries=2 CMD true",
        }
        MissingFlagValue "missing-flag-value" "a flag has no value" {
            what: "The flag is written `--name=value`, with `=` and without blanks.",
            why: "A blank ends the flag, and what follows would be taken for an argument.",
            bad: "RUN --mount type=tmpfs,target=/tmp make",
            good: "RUN --mount=type=tmpfs,target=/tmp make",
        }
        InvalidFlagValue "invalid-flag-value" "a flag has a value it does not take" {
            what: "The value of a switch is `true` or `false`; that of `--network` and `--security` is one of a few words.",
            why: "Guessing would build something else than was meant.",
            bad: "RUN --network=off make",
            good: "RUN --network=none make",
        }
        InvalidMount "invalid-mount" "a mount cannot be read" {
            what: "The value of `--mount` is a list `key=value,key=value` with known keys.",
            why: "A mount that is misread would hide or expose files.",
            bad: "RUN --mount=type=cach,target=/x make",
            good: "RUN --mount=type=cache,target=/x make",
        }
        InvalidDevice "invalid-device" "a device cannot be read" {
            what: "The value of `--device` is a name, perhaps followed by `,required`.",
            why: "A device that is misread would be the wrong one.",
            bad: "RUN --device=a,size=3 make",
            good: "RUN --device=vendor.com/gpu=0,required make",
        }
        HeredocDestination "heredoc-destination" "the destination is a heredoc" {
            what: "The last argument of `COPY` and `ADD` is a path; heredocs are sources.",
            why: "Content has to go to some place.",
            bad: "COPY /a <<EOF\ntext\nEOF",
            good: "COPY <<EOF /a\ntext\nEOF",
        }
        InvalidTrigger "invalid-trigger" "an instruction that cannot be a trigger" {
            what: "`ONBUILD` takes any instruction but `ONBUILD`, `FROM` and `MAINTAINER`.",
            why: "A trigger runs in the middle of another build.",
            bad: "ONBUILD FROM debian:12",
            good: "ONBUILD RUN make",
        }
        ShellNotJson "shell-not-json" "SHELL is not a JSON array" {
            what: "`SHELL` takes the exec form only.",
            why: "The shell is started without a shell, so its arguments have to be told apart.",
            bad: "SHELL /bin/bash -c",
            good: "SHELL [\"/bin/bash\", \"-c\"]",
        }
        InvalidHealthcheck "invalid-healthcheck" "HEALTHCHECK is neither NONE nor CMD" {
            what: "`HEALTHCHECK` is followed by flags and `CMD command`, or by `NONE` alone.",
            why: "Nothing else is defined.",
            bad: "HEALTHCHECK curl -f http://localhost/",
            good: "HEALTHCHECK CMD curl -f http://localhost/",
        }
        InvalidDuration "invalid-duration" "a duration cannot be read" {
            what: "A duration is numbers with units, such as `30s` or `1m30s`, and not less than 1ms.",
            why: "A bare number has no unit, and guessing one could be wrong by a factor of a thousand.",
            bad: "HEALTHCHECK --interval=30 CMD true",
            good: "HEALTHCHECK --interval=30s CMD true",
        }
        InvalidRetries "invalid-retries" "a number of retries cannot be read" {
            what: "`--retries` takes a whole number from 0 to 2147483647.",
            why: "A count of attempts is nothing else.",
            bad: "HEALTHCHECK --retries=few CMD true",
            good: "HEALTHCHECK --retries=3 CMD true",
        }
        EmptyVolume "empty-volume" "a volume has no path" {
            what: "Each element of `VOLUME` is a path.",
            why: "There is nothing to mount on.",
            bad: "VOLUME [\"\"]",
            good: "VOLUME [\"/data\"]",
        }
        InstructionBeforeFrom "instruction-before-from" "an instruction before the first FROM" {
            what: "Only `ARG` may stand before the first `FROM`.",
            why: "Before it there is no file system to work on.",
            bad: "RUN make\nFROM debian:12",
            good: "FROM debian:12\nRUN make",
        }
    }
    Convert Error {
        BadSubstitution "bad-substitution" "a word cannot be expanded" {
            what: "A quote is not closed, a `${...}` has a form that does not exist, or a `?` form asks for a variable that is not set.",
            why: "BuildKit expands variables and removes quotes in most instructions, and stops at a word it cannot read.",
            bad: "ENV GREETING=it's",
            good: "ENV GREETING=\"it's\"",
        }
        InvalidReference "invalid-reference" "not a reference to an image" {
            what: "What stands after `FROM` or `--from=` is, after expansion, neither a stage nor an image reference.",
            why: "Often a variable in it is not set: only `ARG`s before the first `FROM` are known there.",
            bad: "ARG VERSION\nFROM debian:${VERSION}",
            good: "ARG VERSION=12\nFROM debian:${VERSION}",
        }
        InvalidPlatform "invalid-platform" "not a platform" {
            what: "`--platform` is, after expansion, not of the form `os/architecture`.",
            why: "There is no image to choose for it.",
            bad: "FROM --platform=linux/$ARCH debian:12",
            good: "FROM --platform=$BUILDPLATFORM debian:12",
        }
        VariableInFrom "variable-in-from" "a variable where none is expanded" {
            what: "`COPY --from=` takes a name as it stands.",
            why: "The order of the stages must be known before any variable is.",
            bad: "COPY --from=$STAGE /a /a",
            good: "ARG STAGE=debian:12\nFROM $STAGE AS source\nFROM debian:12\nCOPY --from=source /a /a",
        }
        StageNotFound "stage-not-found" "a stage that does not exist" {
            what: "A number or a target names no stage of this file.",
            why: "There is nothing to build or to copy from.",
            bad: "FROM debian:12\nCOPY --from=3 /a /a",
            good: "FROM debian:12 AS source\nFROM debian:12\nCOPY --from=source /a /a",
        }
        StageOrder "stage-order" "a stage is used before it is built" {
            what: "A stage needs itself, or one that stands further down.",
            why: "Stages are built from the top down.",
            bad: "FROM debian:12\nCOPY --from=0 /a /b",
            good: "FROM debian:12 AS source\nFROM debian:12\nCOPY --from=source /a /b",
        }
        DeviceUnsupported "device-unsupported" "a flag of the experimental frontend" {
            what: "`RUN --device` exists in the experimental frontend only.",
            why: "The stable one refuses it.",
            bad: "RUN --device=vendor.com/gpu=0 make",
            good: "RUN make",
        }
        NothingToRun "nothing-to-run" "RUN has nothing to run" {
            what: "The list of arguments is empty, or a heredoc stands where none can.",
            why: "A process needs a program.",
            bad: "RUN []",
            good: "RUN [\"make\"]",
        }
        InvalidMode "invalid-mode" "not permission bits" {
            what: "`--chmod` takes an octal number up to 7777 or symbols such as `u=rwX,go=rX`.",
            why: "Anything else cannot be applied.",
            bad: "COPY --chmod=rwx <<EOF /a\nEOF",
            good: "COPY --chmod=0755 <<EOF /a\nEOF",
        }
        InvalidChecksum "invalid-checksum" "a checksum that cannot be checked" {
            what: "`--checksum` takes a digest, and one remote source to compare it with.",
            why: "A checksum nobody checks is worse than none.",
            bad: "ADD --checksum=abc https://example.com/a /a",
            good: "ADD --checksum=sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d https://example.com/a /a",
        }
        InvalidRemoteSource "invalid-remote-source" "a remote source that cannot be used" {
            what: "`COPY` takes no URLs, and the query of a repository's URL knows only a few names.",
            why: "`ADD` is the instruction that fetches.",
            bad: "COPY https://example.com/a /a",
            good: "ADD https://example.com/a /a",
        }
        InvalidPort "invalid-port" "not a port" {
            what: "`EXPOSE` takes numbers and ranges from 0 to 65535, with `/tcp`, `/udp` or `/sctp`.",
            why: "Ports are separated by blanks.",
            bad: "EXPOSE 80,443",
            good: "EXPOSE 80 443",
        }
        InvalidSignal "invalid-signal" "not a signal" {
            what: "`STOPSIGNAL` takes a signal's name or number.",
            why: "The program could not be stopped with it.",
            bad: "STOPSIGNAL SIGSTOPP",
            good: "STOPSIGNAL SIGTERM",
        }
        CheckFailed "check-failed" "the checks that the file asks for fail" {
            what: "`# check=` has an option that does not exist, or `error=true` and a rule found something.",
            why: "The file itself asks for the build to stop then.",
            bad: "# check=error=true\nFROM debian:12\nCMD sleep 10",
            good: "# check=error=true\nFROM debian:12\nCMD [\"sleep\", \"10\"]",
        }
        LimitReached "limit-reached" "the file costs too much" {
            what: "Expanding its variables, what it makes, or the number of its instructions or words goes over a limit.",
            why: "A few lines can double a value until it fills the memory; thousands of instructions make no image that runs.",
            bad: "ENV A=$A$A\n(and so on, twenty times)",
            good: "ENV A=text",
        }
    }
    Strict Error {
        InvalidUtf8 "invalid-utf8" "bytes that are not UTF-8" {
            what: "The file holds bytes that are no text.",
            why: "BuildKit replaces some of them silently and keeps others; what is built is not what was written.",
            bad: "(a file saved as Latin-1 or UTF-16)",
            good: "(the same file saved as UTF-8)",
        }
        NulByte "nul-byte" "a NUL byte" {
            what: "The file holds a byte of value zero.",
            why: "No process argument, path or variable can hold one: what follows it would be lost.",
            bad: "(a file saved as UTF-16)",
            good: "(the same file saved as UTF-8)",
        }
        BidiControl "bidi-control" "a character that reorders the text" {
            what: "The file holds an invisible character that changes the direction of the text around it.",
            why: "It makes the file look different from what is executed (CVE-2021-42574).",
            bad: "RUN echo (U+202E) ...",
            good: "RUN echo ...",
        }
        ByteOrderMark "byte-order-mark" "a byte order mark within the file" {
            what: "U+FEFF stands somewhere other than at the very start.",
            why: "It is invisible, and BuildKit drops it in some places and keeps it in others.",
            bad: "RUN echo (U+FEFF)a",
            good: "RUN echo a",
        }
        CarriageReturn "carriage-return" "a carriage return within a line" {
            what: "A CR stands somewhere other than at the end of a line.",
            why: "It is invisible, ends no line, and keeps a continuation from working.",
            bad: "RUN echo a (CR) b",
            good: "RUN echo a b",
        }
        NonAsciiKeyword "non-ascii-keyword" "an instruction name with letters outside ASCII" {
            what: "The name looks like an instruction but holds another letter, such as U+212A for K.",
            why: "BuildKit happens to accept it; other tools see an unknown instruction.",
            bad: "WOR(U+212A)DIR /srv",
            good: "WORKDIR /srv",
        }
        NonAsciiFlag "non-ascii-flag" "a flag with letters outside ASCII" {
            what: "A flag before the arguments holds a character outside ASCII.",
            why: "BuildKit reads flags byte by byte and garbles such characters.",
            bad: "RUN --mount=type=tmpfs,target=/é make",
            good: "RUN --mount=type=tmpfs,target=/e make",
        }
        NonAsciiSpace "non-ascii-space" "a blank outside ASCII" {
            what: "A no-break space or another blank outside ASCII separates or ends words.",
            why: "BuildKit splits at it in some instructions and not in others, and nobody can see the difference.",
            bad: "ENV A=1(U+00A0)B=2",
            good: "ENV A=1 B=2",
        }
        JsonFallback "json-fallback" "an array that is not valid JSON" {
            what: "The arguments start with `[` but are not valid JSON.",
            why: "BuildKit then takes the text for a shell command or a list of words, silently. That is hardly ever meant.",
            bad: "CMD ['nginx', '-g', 'daemon off;']",
            good: "CMD [\"nginx\", \"-g\", \"daemon off;\"]",
        }
        EmptyRun "empty-run" "RUN without a command" {
            what: "`RUN` stands alone.",
            why: "BuildKit starts a shell with nothing to do; most likely the command got lost.",
            bad: "RUN",
            good: "RUN make",
        }
        IgnoredFlag "ignored-flag" "a flag that BuildKit ignores" {
            what: "`ARG`, `STOPSIGNAL` and `HEALTHCHECK NONE` take no flags, but BuildKit does not check that.",
            why: "The flag has no effect.",
            bad: "ARG --default=3 VERSION",
            good: "ARG VERSION=3",
        }
        VariableName "variable-name" "a variable name that no shell can read" {
            what: "A name in `ENV` or `ARG` is a letter or `_`, then letters, digits and `_`.",
            why: "Other names can be set but not used in commands.",
            bad: "ENV MY-VAR=1",
            good: "ENV MY_VAR=1",
        }
        EmptyContinuation "empty-continuation" "an empty line within a continued instruction" {
            what: "A blank line follows a continuation character.",
            why: "A blank line does not end the instruction: the next line, even a new instruction, becomes part of it.",
            bad: "RUN make \\\n\nRUN make install",
            good: "RUN make\n\nRUN make install",
        }
        TrailingContinuation "trailing-continuation" "a continuation at the end of the file" {
            what: "The last line ends with the continuation character.",
            why: "Something is missing, or the character is one too many.",
            bad: "RUN make \\",
            good: "RUN make",
        }
        BlankBeforeEquals "blank-before-equals" "a blank before the `=`" {
            what: "`ENV` or `LABEL` has a blank between the name and the `=`.",
            why: "Without an `=` directly after the name the rest of the line is the value, and the `=` becomes part of it.",
            bad: "ENV GREETING = hello",
            good: "ENV GREETING=hello",
        }
        TrailingComment "trailing-comment" "a comment after the arguments" {
            what: "A `#` stands after the arguments of an instruction.",
            why: "A `#` starts a comment only at the start of a line; here it is part of the value.",
            bad: "WORKDIR /srv # where it lives",
            good: "# where it lives\nWORKDIR /srv",
        }
        IgnoredHeredoc "ignored-heredoc" "a heredoc that is not recognised" {
            what: "The line has a `<<WORD` that BuildKit does not take for a heredoc, because a quote on the line is not closed or the word is written in a way it does not know.",
            why: "The lines of the body would be read as instructions.",
            bad: "RUN cat <<- EOF\nhello\nEOF",
            good: "RUN cat <<-EOF\nhello\nEOF",
        }
        HeredocInArithmetic "heredoc-in-arithmetic" "a shift that is taken for a heredoc" {
            what: "BuildKit reads `<< 2` in `$(( 1 << 2 ))` as the start of a heredoc.",
            why: "The lines that follow would be swallowed.",
            bad: "RUN echo $(( 1 << 2 ))\n2",
            good: "RUN echo $((1<<2))",
        }
        DirectiveIgnored "directive-ignored" "a parser directive that has no effect" {
            what: "`# escape=`, `# syntax=` and `# check=` count only at the top, before any other line.",
            why: "The file is read differently from what it says.",
            bad: "FROM debian:12\n# escape=`\nRUN make",
            good: "# escape=`\nFROM debian:12\nRUN make",
        }
        AmbiguousWorkdir "ambiguous-workdir" "a path with `.`, `..` or empty parts" {
            what: "An absolute `WORKDIR` is used as it stands, not cleaned.",
            why: "The image's configuration would hold the odd path, and `..` means something else once links are followed.",
            bad: "WORKDIR /srv/./app//",
            good: "WORKDIR /srv/app",
        }
        ExposeSubstitution "expose-substitution" "a substitution after other text in EXPOSE" {
            what: "`${NAME:-default}` after other text in the same word loses that text in BuildKit.",
            why: "`EXPOSE 80${X:-81}` exposes 81, not 8081.",
            bad: "EXPOSE 80${X:-81}",
            good: "EXPOSE ${PORT:-8081}",
        }
    }
    Strict Warning {
        EnvSameLine "env-same-line" "a variable used in the ENV that sets it" {
            what: "A value in `ENV` refers to a variable that the same instruction sets.",
            why: "All values are expanded before any is set, so the variable still has its old value.",
            bad: "ENV HOME_DIR=/srv DATA_DIR=$HOME_DIR/data",
            good: "ENV HOME_DIR=/srv\nENV DATA_DIR=$HOME_DIR/data",
        }
    }
    Parse Warning {
        TooManyProblems "too-many-problems" "more problems than are shown" {
            what: "The file has more problems than one report holds.",
            why: "A report has a bound; after the first problems are mended, the others are shown.",
            bad: "(a shell script, given as a Dockerfile)",
            good: "FROM debian:12",
        }
    }
    Policy Error {
        DockerfileTooLarge "dockerfile-too-large" "the file is larger than the service takes" {
            what: "The service takes Dockerfiles of up to 64 KiB.",
            why: "A bound keeps checking fast; real files are far smaller.",
            bad: "(a file of 70 KiB)",
            good: "(the long part in a script that RUN fetches)",
        }
        TooManyInstructions "too-many-instructions" "more instructions than the service takes" {
            what: "The number of instructions is over the operator's limit.",
            why: "Each step that changes files costs a layer.",
            bad: "(a thousand RUN lines)",
            good: "(the same commands in one RUN with a heredoc)",
        }
        MissingFrom "missing-from" "there is no FROM" {
            what: "The file has no `FROM` instruction.",
            why: "An image starts from a base.",
            bad: "RUN make",
            good: "FROM debian:12\nRUN make",
        }
        MultipleStages "multiple-stages" "more than one FROM" {
            what: "The service builds single-stage Dockerfiles.",
            why: "Build tools can be removed in the same `RUN` that uses them instead.",
            bad: "FROM golang:1 AS build\nFROM debian:12",
            good: "FROM debian:12",
        }
        BaseNotAllowed "base-not-allowed" "the base image is not on the allowlist" {
            what: "`FROM` names an image the operator does not offer.",
            why: "References are compared in normalised form, so another spelling of the same name makes no difference.",
            bad: "FROM example.com/unknown",
            good: "FROM nodeops/sandbox:debian",
        }
        BaseNotLiteral "base-not-literal" "the base image is not written literally" {
            what: "`FROM` holds a variable, a quote or an escape.",
            why: "The base has to be known from the text alone, before anything is expanded.",
            bad: "ARG BASE=debian\nFROM ${BASE}",
            good: "FROM nodeops/sandbox:debian",
        }
        PlatformNotAvailable "platform-not-available" "FROM --platform is not available" {
            what: "The platform of a template is the service's.",
            why: "An image for another processor would not start.",
            bad: "FROM --platform=linux/arm64 debian:12",
            good: "FROM debian:12",
        }
        CopyNotAvailable "copy-not-available" "COPY is not available" {
            what: "A template is built from its Dockerfile alone; there are no other files to copy.",
            why: "A build context would have to be uploaded.",
            bad: "COPY app.conf /etc/app.conf",
            good: "RUN cat <<'EOF' > /etc/app.conf\nkey = value\nEOF",
        }
        AddNotAvailable "add-not-available" "ADD is not available" {
            what: "A template is built from its Dockerfile alone; there are no other files to add.",
            why: "A build context would have to be uploaded, and remote files are better fetched and checked in a RUN.",
            bad: "ADD https://example.com/a.tar.gz /opt/",
            good: "RUN curl -fsSL https://example.com/a.tar.gz | tar -xz -C /opt",
        }
        SyntaxNotAllowed "syntax-not-allowed" "a frontend image that is not allowed" {
            what: "`# syntax=` names an image that would read the file instead of the builder.",
            why: "BuildKit would download and run it; only the standard frontend is accepted, and it is not run.",
            bad: "# syntax=example.com/frontend",
            good: "# syntax=docker/dockerfile:1",
        }
        CheckNotAllowed "check-not-allowed" "a check directive that could fail the build" {
            what: "`# check=` with `error=true` or an option that does not exist.",
            why: "Warnings never refuse a template, and BuildKit stops at unknown options.",
            bad: "# check=error=true",
            good: "# check=skip=JSONArgsRecommended",
        }
        MountNotAvailable "mount-not-available" "a kind of mount that is not available" {
            what: "Only `cache` and `tmpfs` mounts are available.",
            why: "There is no build context, no secret and no SSH agent to mount.",
            bad: "RUN --mount=type=secret,id=token make",
            good: "RUN --mount=type=cache,target=/root/.cache make",
        }
        MountFrom "mount-from" "a mount from another image" {
            what: "`from=` in a mount would fetch another image or stage.",
            why: "The base is the only image a template is made from.",
            bad: "RUN --mount=type=cache,from=debian,target=/x make",
            good: "RUN --mount=type=cache,target=/x make",
        }
        MountTarget "mount-target" "a mount target outside what is allowed" {
            what: "The target of a mount is not the root and holds no `..`.",
            why: "It would hide the system that the command runs in.",
            bad: "RUN --mount=type=tmpfs,target=/a/../.. make",
            good: "RUN --mount=type=tmpfs,target=/tmp make",
        }
        SecurityNotAvailable "security-not-available" "privileged steps are not available" {
            what: "`--security=insecure` is refused.",
            why: "It would give the step the rights of the host.",
            bad: "RUN --security=insecure make",
            good: "RUN make",
        }
        HostNetworkNotAvailable "host-network-not-available" "the host's network is not available" {
            what: "`--network=host` is refused.",
            why: "It would give the step access to the host's services.",
            bad: "RUN --network=host make",
            good: "RUN make",
        }
        DeviceNotAvailable "device-not-available" "devices are not available" {
            what: "`--device` is refused.",
            why: "It would give the step access to the host's hardware.",
            bad: "RUN --device=vendor.com/gpu=0 make",
            good: "RUN make",
        }
        OnbuildNotAvailable "onbuild-not-available" "ONBUILD is not available" {
            what: "No other build starts from a template, so a trigger would never run.",
            why: "It has no effect but to hide what it holds from the checks.",
            bad: "ONBUILD RUN make",
            good: "RUN make",
        }
        InheritedTrigger "inherited-trigger" "the base image brings a trigger that is not allowed" {
            what: "The base image's configuration has an `ONBUILD` trigger.",
            why: "Triggers would run as part of this file without being in it.",
            bad: "(a base built with ONBUILD COPY . /app)",
            good: "(a base without triggers)",
        }
        TooManyPorts "too-many-ports" "more ports than the service takes" {
            what: "`EXPOSE` lists more ports than the operator's limit.",
            why: "A range of 65536 ports in each line is a way to exhaust memory.",
            bad: "EXPOSE 0-65535",
            good: "EXPOSE 80 443",
        }
    }
    Lint Warning {
        StageNameCasing "StageNameCasing" "a stage name has capitals" {
            what: "The name after `AS` is not in lower case.",
            why: "Stage names are folded to lower case, so the capitals mean nothing and mislead.",
            bad: "FROM debian:12 AS Build",
            good: "FROM debian:12 AS build",
        }
        FromAsCasing "FromAsCasing" "FROM and AS differ in case" {
            what: "`FROM` and `AS` are written in different case.",
            why: "One case for keywords reads better.",
            bad: "FROM debian:12 as build",
            good: "FROM debian:12 AS build",
        }
        NoEmptyContinuation "NoEmptyContinuation" "a blank line in a continued instruction" {
            what: "A line after a continuation character is blank.",
            why: "The blank line does not end the instruction, and will become an error.",
            bad: "RUN make \\\n\n    install",
            good: "RUN make \\\n    install",
        }
        ConsistentInstructionCasing "ConsistentInstructionCasing" "keywords differ in case" {
            what: "A keyword is not in the case that most keywords of the file are in.",
            why: "One case for keywords reads better.",
            bad: "FROM debian:12\nRUN make\nrun make install",
            good: "FROM debian:12\nRUN make\nRUN make install",
        }
        DuplicateStageName "DuplicateStageName" "two stages have one name" {
            what: "A stage has the name of an earlier one.",
            why: "The later stage hides the earlier, so a reference may mean another stage than it seems.",
            bad: "FROM debian:12 AS build\nFROM debian:12 AS build",
            good: "FROM debian:12 AS build\nFROM debian:12 AS test",
        }
        ReservedStageName "ReservedStageName" "a stage has a reserved name" {
            what: "A stage is called `context` or `scratch`.",
            why: "Both mean something else where a stage can be named.",
            bad: "FROM debian:12 AS scratch",
            good: "FROM debian:12 AS build",
        }
        JSONArgsRecommended "JSONArgsRecommended" "a shell form that keeps signals from the program" {
            what: "`CMD` or `ENTRYPOINT` is in shell form.",
            why: "A shell is then the first process; it does not pass on signals, so the program is killed rather than stopped.",
            bad: "CMD serve --port 80",
            good: "CMD [\"serve\", \"--port\", \"80\"]",
        }
        MaintainerDeprecated "MaintainerDeprecated" "MAINTAINER is deprecated" {
            what: "`MAINTAINER` has been replaced by a label.",
            why: "Labels are shown by every tool; the author field hardly by any.",
            bad: "MAINTAINER me@example.com",
            good: "LABEL org.opencontainers.image.authors=\"me@example.com\"",
        }
        UndefinedArgInFrom "UndefinedArgInFrom" "FROM names an undeclared variable" {
            what: "`FROM` uses a variable that no `ARG` before the first `FROM` declares.",
            why: "It is empty, so the image is another one than it seems.",
            bad: "FROM debian:${TAG}",
            good: "ARG TAG=12\nFROM debian:${TAG}",
        }
        WorkdirRelativePath "WorkdirRelativePath" "a relative working directory" {
            what: "The first `WORKDIR` of a stage is relative.",
            why: "It depends on the working directory of the base image, which may change.",
            bad: "WORKDIR app",
            good: "WORKDIR /app",
        }
        UndefinedVar "UndefinedVar" "a variable that nothing sets" {
            what: "An instruction uses a variable that no `ARG` or `ENV` before it sets.",
            why: "It is replaced by nothing.",
            bad: "WORKDIR /srv/$NAM",
            good: "ARG NAME=app\nWORKDIR /srv/$NAME",
        }
        MultipleInstructionsDisallowed "MultipleInstructionsDisallowed" "an instruction without effect" {
            what: "A stage has more than one `CMD`, `ENTRYPOINT` or `HEALTHCHECK`.",
            why: "Only the last one counts.",
            bad: "CMD [\"a\"]\nCMD [\"b\"]",
            good: "CMD [\"b\"]",
        }
        LegacyKeyValueFormat "LegacyKeyValueFormat" "a pair without `=`" {
            what: "`ENV` or `LABEL` separates key and value by a blank.",
            why: "The form takes one pair only and treats blanks and quotes in its own way.",
            bad: "ENV NAME value",
            good: "ENV NAME=value",
        }
        InvalidBaseImagePlatform "InvalidBaseImagePlatform" "the base image is for another platform" {
            what: "The base image's operating system or processor is not the one that is built for.",
            why: "Its programs will not run.",
            bad: "FROM --platform=linux/arm64 debian:12",
            good: "FROM debian:12",
        }
        RedundantTargetPlatform "RedundantTargetPlatform" "a platform that is the default" {
            what: "`FROM --platform=$TARGETPLATFORM` says what holds anyway.",
            why: "It only adds noise.",
            bad: "FROM --platform=$TARGETPLATFORM debian:12",
            good: "FROM debian:12",
        }
        SecretsUsedInArgOrEnv "SecretsUsedInArgOrEnv" "a variable that sounds like a secret" {
            what: "The name of an `ARG` or `ENV` sounds like a password, key or token.",
            why: "The value stays readable in the image's configuration or history.",
            bad: "ENV API_TOKEN=abc",
            good: "RUN --mount=type=secret,id=api_token make",
        }
        InvalidDefaultArgInFrom "InvalidDefaultArgInFrom" "the defaults give no valid image" {
            what: "With the defaults of the `ARG`s, the reference in `FROM` is empty or not valid.",
            why: "The file cannot be built without arguments.",
            bad: "ARG TAG\nFROM debian:${TAG}",
            good: "ARG TAG=12\nFROM debian:${TAG}",
        }
        FromPlatformFlagConstDisallowed "FromPlatformFlagConstDisallowed" "a constant platform" {
            what: "`FROM --platform` has a constant value.",
            why: "The stage cannot be built for another platform.",
            bad: "FROM --platform=linux/amd64 debian:12",
            good: "FROM --platform=$BUILDPLATFORM debian:12",
        }
        CopyIgnoredFile "CopyIgnoredFile" "a source that .dockerignore excludes" {
            what: "`COPY` or `ADD` names a file that `.dockerignore` keeps out of the build context.",
            why: "The file is not there when the build looks for it.",
            bad: "COPY tmp/a.txt /a.txt",
            good: "COPY data/a.txt /a.txt",
        }
        InvalidDefinitionDescription "InvalidDefinitionDescription" "a comment that is no description" {
            what: "The comment above a stage or an `ARG` does not begin with its name.",
            why: "Tools show such a comment as the description.",
            bad: "# check=experimental=InvalidDefinitionDescription\n# the compiler\nFROM debian:12 AS build",
            good: "# check=experimental=InvalidDefinitionDescription\n# build the compiler\nFROM debian:12 AS build",
        }
        ExposeProtoCasing "ExposeProtoCasing" "a protocol in capitals" {
            what: "The protocol in `EXPOSE` is not in lower case.",
            why: "It is folded to lower case.",
            bad: "EXPOSE 80/TCP",
            good: "EXPOSE 80/tcp",
        }
        ExposeInvalidFormat "ExposeInvalidFormat" "an address or host port in EXPOSE" {
            what: "`EXPOSE` has an address or a host port.",
            why: "Only the container's port means anything here; the rest will become an error.",
            bad: "EXPOSE 127.0.0.1:8080:80",
            good: "EXPOSE 80",
        }
        AptUpdateSeparate "apt-update-separate" "packages installed from old lists" {
            what: "`apt-get install` has no `apt-get update` before it in the same `RUN`.",
            why: "The lists come from an earlier, cached step or are missing, so packages are old or not found.",
            bad: "RUN apt-get update\nRUN apt-get install -y git",
            good: "RUN apt-get update && apt-get install -y git",
        }
        AptMissingYes "apt-missing-yes" "apt-get will ask" {
            what: "`apt-get` is called without `-y`.",
            why: "It waits for an answer that a build cannot give, and stops.",
            bad: "RUN apt-get update && apt-get install git",
            good: "RUN apt-get update && apt-get install -y git",
        }
        AptListsLeft "apt-lists-left" "package lists stay in the image" {
            what: "A `RUN` with `apt-get update` does not remove the lists it downloaded.",
            why: "They take tens of megabytes and are out of date when the image is used.",
            bad: "RUN apt-get update && apt-get install -y git",
            good: "RUN apt-get update && apt-get install -y git \\\n    && rm -rf /var/lib/apt/lists/*",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for &code in Code::ALL {
            assert_eq!(Code::from_name(code.name()), Some(code), "{code}");
        }
    }

    #[test]
    fn every_page_says_something() {
        for &code in Code::ALL {
            let page = code.page();
            for text in [page.title, page.what, page.why, page.bad, page.good] {
                assert!(!text.is_empty(), "{code}");
            }
            assert_ne!(page.bad, page.good, "{code}");
        }
    }
}
