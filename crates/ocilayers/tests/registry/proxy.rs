//! A proxy that does wrong what it is told to, and remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn is_layer(&self) -> bool {
        // The config is asked for as a blob too, and is small.
        self.path.contains("/blobs/")
    }
}

/// What is done with a request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// As the registry has it.
    Forward,
    /// Status and headers, then the body.
    Answer(String, Vec<u8>),
    /// That many bytes of the body at most, then nothing: the connection is closed.
    Cut(usize),
    /// The same, but the connection stays open.
    Stall(usize),
    /// The last byte of the body is another.
    Flip,
    /// As the registry has it when no range is asked for.
    WithoutRange,
    /// A body that never ends.
    Endless,
}

impl Act {
    pub(crate) fn status(status: &str) -> Self {
        Self::Answer(format!("{status}\r\nContent-Length: 0"), Vec::new())
    }

    pub(crate) fn redirect(to: &str) -> Self {
        Self::status(&format!("307 Temporary Redirect\r\nLocation: {to}"))
    }
}

pub(crate) struct Proxy {
    pub(crate) host: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Proxy {
    /// A proxy of `upstream`; `act` is told of each request and how many there were for the same path before.
    pub(crate) fn start(upstream: &str, act: impl Fn(&Seen, usize) -> Act + Send + Sync + 'static) -> Self {
        Self::start_on(upstream, act, |stream| Some(Box::new(stream)))
    }

    /// The same with `wrap` around each connection: TLS.
    pub(crate) fn start_on(
        upstream: &str,
        act: impl Fn(&Seen, usize) -> Act + Send + Sync + 'static,
        wrap: impl Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (seen, upstream) = (Arc::new(Mutex::new(Vec::new())), upstream.to_owned());
        let all = Arc::clone(&seen);
        let shared = Arc::new((act, wrap, upstream, all));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || {
                    let (act, wrap, upstream, all) = &*shared;
                    let Some(mut stream) = wrap(stream.unwrap()) else { return };
                    let Some(request) = read_request(&mut *stream) else { return };
                    let before = {
                        let mut all: std::sync::MutexGuard<'_, Vec<Seen>> = all.lock().unwrap();
                        let before = all.iter().filter(|seen| seen.path == request.path).count();
                        all.push(request.clone());
                        before
                    };
                    // Whoever asked may be gone: that is theirs to notice.
                    let _ = answer(&mut *stream, upstream, &request, act(&request, before));
                });
            }
        });
        Self { host, seen }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

pub(crate) trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

fn read_request(stream: &mut dyn Stream) -> Option<Seen> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|&len| len > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_owned(), value.to_owned())),
            None => break,
        }
    }
    let mut seen = Seen { path, headers, body: String::new() };
    let len = seen.header("content-length").and_then(|len| len.parse().ok()).unwrap_or(0);
    reader.take(len).read_to_string(&mut seen.body).ok()?;
    Some(seen)
}

fn answer(stream: &mut dyn Stream, upstream: &str, request: &Seen, act: Act) -> std::io::Result<()> {
    let (head, mut body) = match &act {
        Act::Answer(head, body) => (format!("HTTP/1.1 {head}"), body.clone()),
        Act::Endless => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n")?;
            loop {
                stream.write_all(&[b' '; 65_536])?;
            }
        }
        Act::WithoutRange => forward(upstream, request, &["accept", "authorization"])?,
        _ => forward(upstream, request, &["accept", "authorization", "range"])?,
    };
    let mut sent = body.len();
    match act {
        Act::Cut(len) | Act::Stall(len) => sent = sent.min(len),
        Act::Flip => *body.last_mut().unwrap() ^= 1,
        Act::Forward | Act::WithoutRange | Act::Answer(..) | Act::Endless => {}
    }
    write!(stream, "{head}\r\nConnection: close\r\n\r\n")?;
    stream.write_all(&body[..sent])?;
    stream.flush()?;
    if matches!(act, Act::Stall(_)) {
        std::thread::sleep(Duration::from_secs(20));
    }
    Ok(())
}

/// Status, headers and body as the registry gives them.
fn forward(upstream: &str, request: &Seen, passed: &[&str]) -> std::io::Result<(String, Vec<u8>)> {
    let mut stream = TcpStream::connect(upstream)?;
    write!(stream, "GET {} HTTP/1.1\r\nHost: {upstream}\r\nConnection: close\r\n", request.path)?;
    for name in passed {
        if let Some(value) = request.header(name) {
            write!(stream, "{name}: {value}\r\n")?;
        }
    }
    write!(stream, "\r\n")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    stream.shutdown(Shutdown::Both).ok();
    let end = bytes.windows(4).position(|part| part == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let kept = head.split("\r\n").filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    Ok((kept.collect::<Vec<_>>().join("\r\n"), bytes[end + 4..].to_vec()))
}
