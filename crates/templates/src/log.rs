//! The log of a template: one file an attempt, `logs/<id>/<attempt>.ndjson`, one JSON object a line, byte for byte as followers get it.
//!
//! A line is written whole before anybody is told of it, so a kill of the process loses none that was seen; the file is synced
//! before the state of its template becomes final. Numbers (`seq`) go on from one attempt to the next, so that a follower
//! can come back with the number it has not seen yet.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use drydock::Stream;
use serde::{Deserialize, Serialize};

use crate::artifact::sync_directory;
use crate::clock::Time;
use crate::error::Error;
use crate::template::TemplateId;

/// A line of output is cut into pieces of at most this many bytes.
const PIECE_BYTES: usize = 8 << 10;

/// The most bytes that one read of a follower gives.
const READ_BYTES: usize = 64 << 10;

/// Longer than any line that is written here: six bytes for each of a piece, twice, and the rest.
pub(crate) const LINE_BYTES_MAX: u64 = 256 << 10;

/// One line of a log.
#[derive(Debug, Serialize)]
struct Line<'a> {
    /// As the specification has it: raw output, with its newline.
    stream: &'a str,
    /// The same without the newline.
    line: &'a str,
    ts: String,
    level: Level,
    /// The stream of the command that wrote it; none for a line of the builder's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Stream>,
    attempt: u32,
    step: usize,
    seq: u64,
}

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Info,
    Error,
}

/// The part of a line that a reader looks at.
#[derive(Debug, Deserialize)]
struct Position {
    seq: u64,
}

/// Where the logs of a template are.
pub(crate) fn directory(logs: &Path, id: &TemplateId) -> PathBuf {
    logs.join(id.as_str())
}

/// What one source has written of a line that has not ended.
#[derive(Debug)]
struct Open {
    source: Option<Stream>,
    bytes: Vec<u8>,
}

impl Open {
    const NONE: [Self; 3] = [
        Self { source: Some(Stream::Stdout), bytes: Vec::new() },
        Self { source: Some(Stream::Stderr), bytes: Vec::new() },
        Self { source: None, bytes: Vec::new() },
    ];
}

/// Writes the log of one attempt.
#[derive(Debug)]
pub(crate) struct LogWriter {
    path: PathBuf,
    file: File,
    attempt: u32,
    step: usize,
    seq: u64,
    /// Output whose line has not ended, of each source.
    open: [Open; 3],
    /// Bytes that may still be written, but for the last words of the build.
    left: u64,
    /// Lines that the file has not taken yet; of the first it may have the beginning.
    rest: Vec<u8>,
}

impl LogWriter {
    /// Begins the log of an attempt, numbered from `first` on, or else on from the attempts before.
    pub(crate) fn create(
        logs: &Path,
        id: &TemplateId,
        attempt: u32,
        bytes_max: u64,
        first: Option<u64>,
    ) -> Result<Self, Error> {
        let dir = directory(logs, id);
        fs::create_dir_all(&dir).map_err(Error::file(&dir))?;
        let mended = mend(&dir, attempt).map_err(Error::file(&dir))?;
        let seq = first.unwrap_or(mended);
        let path = file_of(&dir, attempt);
        let file = OpenOptions::new().append(true).create(true).open(&path).map_err(Error::file(&path))?;
        sync_directory(&dir)?;
        sync_directory(logs)?;
        Ok(Self { path, file, attempt, step: 0, seq, open: Open::NONE, left: bytes_max, rest: Vec::new() })
    }

    /// The step that what comes belongs to.
    pub(crate) fn step(&mut self, step: usize) {
        self.step = step;
    }

    /// Adds output of a stream of the command, or text of the builder's own; lines that it ends are written. Whether any was.
    pub(crate) fn output(&mut self, source: Option<Stream>, bytes: &[u8], now: Time) -> Result<bool, Error> {
        if self.left == 0 {
            return Ok(false);
        }
        let late = self.write_rest()?;
        let mut records = Vec::new();
        if source.is_none() {
            // The builder speaks when the command has said what it had to say.
            self.record_open(<[u8]>::len, now, &mut records);
        }
        self.add(source, bytes, Level::Info, now, &mut records);
        Ok(self.write(records, now)? || late)
    }

    /// Writes what has not ended its line, but for a character that has not ended. Whether there was any.
    pub(crate) fn flush(&mut self, now: Time) -> Result<bool, Error> {
        let late = self.write_rest()?;
        let mut records = Vec::new();
        self.record_open(whole_characters, now, &mut records);
        Ok(self.write(records, now)? || late)
    }

    /// Writes a text of the service's own, whatever the limit says.
    pub(crate) fn say(&mut self, text: &str, level: Level, now: Time) -> Result<(), Error> {
        self.write_rest()?;
        let mut records = Vec::new();
        self.record_text(text, level, now, &mut records);
        self.rest.append(&mut records);
        self.write_rest().map(drop)
    }

    /// Makes all of it durable.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        self.write_rest()?;
        self.file.sync_data().map_err(Error::file(&self.path))
    }

    /// Records what ends a line or fills a piece, together with what is open of its source; the rest is open then.
    fn add(&mut self, source: Option<Stream>, bytes: &[u8], level: Level, now: Time, records: &mut Vec<u8>) {
        let at = self.open.iter().position(|open| open.source == source).expect("every source has its place");
        let mut piece = std::mem::take(&mut self.open[at].bytes);
        for &byte in bytes {
            piece.push(byte);
            if byte == b'\n' || piece.len() >= PIECE_BYTES {
                let end = whole_characters(&piece);
                self.record(source, &piece[..end], level, now, records);
                piece.drain(..end);
            }
        }
        self.open[at].bytes = piece;
    }

    /// Records what is open, of each source as many bytes as `end` says.
    fn record_open(&mut self, end: fn(&[u8]) -> usize, now: Time, records: &mut Vec<u8>) {
        for at in 0..self.open.len() {
            let mut piece = std::mem::take(&mut self.open[at].bytes);
            let end = end(&piece);
            if end > 0 {
                self.record(self.open[at].source, &piece[..end], Level::Info, now, records);
                piece.drain(..end);
            }
            self.open[at].bytes = piece;
        }
    }

    /// Records a text of the service's own, after what is open.
    fn record_text(&mut self, text: &str, level: Level, now: Time, records: &mut Vec<u8>) {
        self.record_open(<[u8]>::len, now, records);
        for line in text.lines() {
            self.add(None, format!("{line}\n").as_bytes(), level, now, records);
        }
    }

    fn record(&mut self, source: Option<Stream>, piece: &[u8], level: Level, now: Time, records: &mut Vec<u8>) {
        let stream = String::from_utf8_lossy(piece);
        let line = stream.strip_suffix('\n').unwrap_or(&stream);
        let (attempt, step, seq) = (self.attempt, self.step, self.seq);
        let record = Line { stream: &stream, line, ts: now.to_string(), level, source, attempt, step, seq };
        serde_json::to_writer(&mut *records, &record).expect("a line has string keys, and memory takes it");
        records.push(b'\n');
        self.seq += 1;
    }

    /// Writes lines that follow all those before, and says so where they are the last.
    fn write(&mut self, mut records: Vec<u8>, now: Time) -> Result<bool, Error> {
        if records.is_empty() {
            return Ok(false);
        }
        let len = u64::try_from(records.len()).expect("usize fits in u64");
        self.left = self.left.saturating_sub(len);
        if self.left == 0 {
            let full = "the log is full: what the build writes from here on is not kept";
            self.record_text(full, Level::Error, now, &mut records);
        }
        self.rest.append(&mut records);
        self.write_rest()
    }

    /// Writes what the file has not taken yet. Whether there was any.
    ///
    /// A disk that is full may take the half of a line. It stays there and the other half follows when there is room: a reader
    /// may have seen those bytes, and the number of the line is given away. So nothing that is in the file ever changes.
    fn write_rest(&mut self) -> Result<bool, Error> {
        let (mut written, mut outcome) = (0, Ok(()));
        while outcome.is_ok() && written < self.rest.len() {
            match self.file.write(&self.rest[written..]) {
                Ok(0) => outcome = Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => written += taken,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => outcome = Err(error),
            }
        }
        self.rest.drain(..written);
        outcome.map(|()| written > 0).map_err(Error::file(&self.path))
    }
}

/// The length without a character that only begins at the end. What is no text ends anywhere.
fn whole_characters(bytes: &[u8]) -> usize {
    let begins = |start: &usize| {
        let character = std::str::from_utf8(&bytes[*start..]);
        character.is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    // The longest has four bytes.
    (bytes.len().saturating_sub(3)..bytes.len()).find(begins).unwrap_or(bytes.len())
}

/// Where the log of an attempt is, in the directory of its template.
pub(crate) fn file_of(dir: &Path, attempt: u32) -> PathBuf {
    dir.join(format!("{attempt}.ndjson"))
}

/// The lines from the number `since` on.
pub(crate) fn lines_from(mut lines: Vec<u8>, since: u64) -> Vec<u8> {
    let before = |line: &&[u8]| serde_json::from_slice::<Position>(line).is_ok_and(|position| position.seq < since);
    let start: usize = lines.split_inclusive(|&byte| byte == b'\n').take_while(before).map(<[u8]>::len).sum();
    lines.drain(..start);
    lines
}

/// Cuts off a line that a kill left half-written, in the attempts up to `attempt`, and gives the number of the next line.
fn mend(dir: &Path, attempt: u32) -> io::Result<u64> {
    for attempt in (1..=attempt).rev() {
        let path = file_of(dir, attempt);
        let Ok(mut file) = OpenOptions::new().read(true).write(true).open(&path) else { continue };
        let len = file.metadata()?.len();
        let start = len.saturating_sub(LINE_BYTES_MAX);
        file.seek(SeekFrom::Start(start))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        let whole = tail.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        if whole < tail.len() {
            file.set_len(start + u64::try_from(whole).expect("usize fits in u64"))?;
            file.sync_data()?;
        }
        let mut lines = tail[..whole].rsplit(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        if let Some(Ok(last)) = lines.next().map(serde_json::from_slice::<Position>) {
            return Ok(last.seq + 1);
        }
    }
    Ok(0)
}

/// Where the attempts of a template have their logs.
pub(crate) trait Logs {
    /// The log of one, from its beginning; nothing when there is none.
    fn open(&self, attempt: u32) -> io::Result<Option<Box<dyn BufRead + Send>>>;

    /// What they are called in messages.
    fn name(&self) -> PathBuf;
}

/// Logs in files of this host, which may be written still.
#[derive(Debug)]
pub(crate) struct Files(PathBuf);

impl Logs for Files {
    fn open(&self, attempt: u32) -> io::Result<Option<Box<dyn BufRead + Send>>> {
        match File::open(file_of(&self.0, attempt)) {
            Ok(file) => Ok(Some(Box::new(BufReader::with_capacity(PIECE_BYTES, file)))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn name(&self) -> PathBuf {
        self.0.clone()
    }
}

/// Reads the log of a template from a place on, whole lines at a time, over its attempts.
pub(crate) struct LogReader<L> {
    logs: L,
    /// The one attempt that is wanted; all of them if none is named.
    only: Option<u32>,
    attempt: u32,
    open: Option<Box<dyn BufRead + Send>>,
    /// The beginning of a line that is not whole yet.
    torn: Vec<u8>,
    /// Lines below are left out.
    since: u64,
    /// The number that follows the last line given.
    next_seq: u64,
}

impl<L: fmt::Debug> fmt::Debug for LogReader<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogReader").field("logs", &self.logs).field("next_seq", &self.next_seq).finish_non_exhaustive()
    }
}

impl LogReader<Files> {
    /// Of the template's logs below a directory of this host.
    pub(crate) fn of_files(logs: &Path, id: &TemplateId, only: Option<u32>, since: u64) -> Self {
        Self::new(Files(directory(logs, id)), only, since)
    }
}

impl<L: Logs> LogReader<L> {
    pub(crate) fn new(logs: L, only: Option<u32>, since: u64) -> Self {
        let attempt = only.unwrap_or(1);
        Self { logs, only, attempt, open: None, torn: Vec::new(), since, next_seq: since }
    }

    /// The number that a follower comes back with.
    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The next whole lines, at most 64 KiB or one line; nothing when there are no more now. `last` is the attempt under way.
    pub(crate) fn read(&mut self, last: u32) -> Result<Vec<u8>, Error> {
        loop {
            let lines = self.read_attempt().map_err(|error| Error::file(self.logs.name())(error))?;
            if !lines.is_empty() || self.only.is_some() || self.attempt >= last {
                return Ok(lines);
            }
            self.attempt += 1;
            self.open = None;
            // What a kill tore is never whole.
            self.torn.clear();
        }
    }

    fn read_attempt(&mut self) -> io::Result<Vec<u8>> {
        if self.open.is_none() {
            self.open = self.logs.open(self.attempt)?;
        }
        let Some(log) = &mut self.open else { return Ok(Vec::new()) };
        let mut lines = Vec::new();
        while lines.len() < READ_BYTES {
            let room = LINE_BYTES_MAX.saturating_sub(u64::try_from(self.torn.len()).expect("usize fits in u64"));
            log.take(room).read_until(b'\n', &mut self.torn)?;
            if !self.torn.ends_with(b"\n") {
                break;
            }
            let position = serde_json::from_slice::<Position>(&self.torn);
            let seq = position.ok().map(|position| position.seq);
            self.next_seq = seq.map_or(self.next_seq, |seq| seq + 1);
            if seq.is_none_or(|seq| seq >= self.since) {
                lines.extend_from_slice(&self.torn);
            }
            self.torn.clear();
        }
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUT: Option<Stream> = Some(Stream::Stdout);

    fn id() -> TemplateId {
        TemplateId::new(ulid::Ulid::from_parts(1, 2))
    }

    fn text(lines: &[u8]) -> Vec<(u64, String)> {
        let lines = lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let parsed = lines.map(|line| serde_json::from_slice::<serde_json::Value>(line).unwrap());
        parsed.map(|line| (line["seq"].as_u64().unwrap(), line["stream"].as_str().unwrap().to_owned())).collect()
    }

    #[test]
    fn lines_are_followed_over_attempts_and_numbered_on() {
        let logs = tempfile::tempdir().unwrap();
        let mut reader = LogReader::of_files(logs.path(), &id(), None, 0);
        assert!(reader.read(0).unwrap().is_empty());
        let mut first = LogWriter::create(logs.path(), &id(), 1, 1 << 20, None).unwrap();
        assert!(first.output(OUT, b"one\ntw", Time(0)).unwrap());
        assert_eq!(text(&reader.read(1).unwrap()), [(0, "one\n".to_owned())]);
        assert!(!first.output(OUT, b"o", Time(0)).unwrap());
        assert!(reader.read(1).unwrap().is_empty());
        assert!(first.flush(Time(0)).unwrap());
        assert_eq!(text(&reader.read(1).unwrap()), [(1, "two".to_owned())]);
        // The process is killed in the middle of a line; its second life goes on.
        first.file.write_all(b"{\"stream\":\"torn").unwrap();
        assert!(reader.read(1).unwrap().is_empty());
        let mut second = LogWriter::create(logs.path(), &id(), 2, 1 << 20, None).unwrap();
        second.say("again\nand again", Level::Error, Time(0)).unwrap();
        let rest = text(&reader.read(2).unwrap());
        assert_eq!(rest, [(2, "again\n".to_owned()), (3, "and again\n".to_owned())]);
        assert_eq!(reader.next_seq(), 4);
        assert_eq!(text(&LogReader::of_files(logs.path(), &id(), None, 3).read(2).unwrap()).len(), 1);
        assert_eq!(text(&LogReader::of_files(logs.path(), &id(), Some(1), 0).read(2).unwrap()).len(), 2);
    }

    #[test]
    fn a_line_belongs_to_one_source() {
        let logs = tempfile::tempdir().unwrap();
        let mut log = LogWriter::create(logs.path(), &id(), 1, 1 << 20, None).unwrap();
        let err = Some(Stream::Stderr);
        for (source, bytes) in [(OUT, "half "), (err, "warning\n"), (OUT, "a line\nrest"), (None, " ---> id\n")] {
            log.output(source, bytes.as_bytes(), Time(0)).unwrap();
        }
        let bytes = LogReader::of_files(logs.path(), &id(), None, 0).read(1).unwrap();
        let lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let lines: Vec<_> = lines.map(|line| serde_json::from_slice::<serde_json::Value>(line).unwrap()).collect();
        let seen: Vec<_> =
            lines.iter().map(|line| (line["source"].as_str(), line["stream"].as_str().unwrap())).collect();
        let expected = [
            (Some("stderr"), "warning\n"),
            (Some("stdout"), "half a line\n"),
            (Some("stdout"), "rest"),
            (None, " ---> id\n"),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_line_that_was_written_in_part_is_ended_before_the_next() {
        let logs = tempfile::tempdir().unwrap();
        let mut log = LogWriter::create(logs.path(), &id(), 1, 32 << 20, None).unwrap();
        // It takes what it has room for, as a disk does that gets full.
        let (disk, mut room) = std::os::unix::net::UnixStream::pair().unwrap();
        disk.set_nonblocking(true).unwrap();
        room.set_nonblocking(true).unwrap();
        log.file = File::from(std::os::fd::OwnedFd::from(disk));
        let line = "x".repeat(PIECE_BYTES - 1) + "\n";
        assert!(log.output(OUT, line.repeat(200).as_bytes(), Time(0)).is_err());
        // No line gets a number while it can't be kept.
        assert!(log.output(OUT, b"lost\n", Time(0)).is_err());
        let mut written = Vec::new();
        while log.flush(Time(0)).is_err() {
            room.read_to_end(&mut written).unwrap_err();
        }
        room.read_to_end(&mut written).unwrap_err();
        log.say("the end", Level::Error, Time(0)).unwrap();
        drop(log);
        room.read_to_end(&mut written).unwrap();
        let all = text(&written);
        assert!(all.iter().map(|(seq, _)| *seq).eq(0..201));
        assert!(all[..200].iter().all(|(_, text)| *text == line));
        assert_eq!(all[200].1, "the end\n");
    }

    #[test]
    fn a_flood_is_bounded_and_long_lines_are_cut() {
        let logs = tempfile::tempdir().unwrap();
        let mut log = LogWriter::create(logs.path(), &id(), 1, 100_000, None).unwrap();
        for _ in 0..100 {
            log.output(OUT, &[0xff; 10_000], Time(0)).unwrap();
        }
        log.say("the end", Level::Info, Time(0)).unwrap();
        let mut reader = LogReader::of_files(logs.path(), &id(), None, 0);
        let mut all = Vec::new();
        loop {
            let lines = reader.read(1).unwrap();
            if lines.is_empty() {
                break;
            }
            all.extend(text(&lines));
        }
        let size = fs::metadata(file_of(&directory(logs.path(), &id()), 1)).unwrap().len();
        assert!(size < 100_000 + LINE_BYTES_MAX, "{size}");
        assert_eq!(all.iter().filter(|(_, text)| text.contains("the log is full")).count(), 1);
        assert_eq!(all.last().unwrap().1, "the end\n");
        assert!(all.iter().all(|(_, text)| text.len() <= 3 * PIECE_BYTES));
    }

    #[test]
    fn characters_are_not_torn() {
        let logs = tempfile::tempdir().unwrap();
        let mut log = LogWriter::create(logs.path(), &id(), 1, 1 << 20, None).unwrap();
        // A bar as package managers draw it, a flush in the middle of a character, a character that never ends.
        let bar = "\u{2501}".repeat(PIECE_BYTES);
        log.output(OUT, bar.as_bytes(), Time(0)).unwrap();
        log.flush(Time(0)).unwrap();
        log.output(OUT, b"\xe2\x94", Time(0)).unwrap();
        assert!(!log.flush(Time(0)).unwrap());
        log.output(OUT, b"\x81\n\xe2", Time(0)).unwrap();
        log.say("the end", Level::Info, Time(0)).unwrap();
        let mut reader = LogReader::of_files(logs.path(), &id(), None, 0);
        let all = text(&reader.read(1).unwrap());
        let said: String = all.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(said, format!("{bar}\u{2501}\n\u{fffd}the end\n"));
    }

    #[test]
    fn the_last_words_are_read_however_long_they_are() {
        let logs = tempfile::tempdir().unwrap();
        let mut log = LogWriter::create(logs.path(), &id(), 1, 1 << 20, None).unwrap();
        let words = "\u{1}".repeat(300 << 10);
        log.say(&words, Level::Error, Time(0)).unwrap();
        let mut reader = LogReader::of_files(logs.path(), &id(), None, 0);
        let mut said = String::new();
        loop {
            let lines = reader.read(1).unwrap();
            if lines.is_empty() {
                break;
            }
            said.extend(text(&lines).into_iter().map(|(_, text)| text));
        }
        assert_eq!(said, words + "\n");
    }
}
