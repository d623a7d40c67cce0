//! What stands between hosts and their object store, and makes it slow, failing, lying or gone.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Right,
    /// Every request waits.
    Slow,
    /// Every second request is answered with 500 or 503.
    Failing,
    /// Every second answer breaks off.
    Cut,
    /// Every second request is done, and not answered.
    Silent,
    /// Packs of chunks have other bytes than they were put with.
    Lying,
    /// No connection stays, and none comes.
    Gone,
}

/// One request a connection, which is what the client makes.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) url: String,
    shared: Arc<Shared>,
    address: std::net::SocketAddr,
}

#[derive(Debug)]
struct Shared {
    store: String,
    mood: Mutex<Mood>,
    requests: AtomicU32,
    open: Mutex<Vec<TcpStream>>,
    over: AtomicBool,
}

impl Proxy {
    pub(super) fn start(store: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            store: store.trim_start_matches("http://").to_owned(),
            mood: Mutex::new(Mood::Right),
            requests: AtomicU32::new(0),
            open: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if serving.over.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(client), serving) = (client, Arc::clone(&serving)) else { continue };
                // What breaks off is what the test is about.
                std::thread::spawn(move || drop(serving.one(client)));
            }
        });
        Self { url: format!("http://{address}"), shared, address }
    }

    pub(super) fn be(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = mood;
        if mood == Mood::Gone {
            for stream in self.shared.open.lock().unwrap().drain(..) {
                drop(stream.shutdown(Shutdown::Both));
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn one(&self, mut client: TcpStream) -> std::io::Result<()> {
        let mood = *self.mood.lock().unwrap();
        let odd = self.requests.fetch_add(1, Ordering::SeqCst) % 2 == 1;
        match mood {
            Mood::Gone => return client.shutdown(Shutdown::Both),
            Mood::Slow => std::thread::sleep(Duration::from_millis(300)),
            _ => {}
        }
        let mut store = TcpStream::connect(&self.store)?;
        self.open.lock().unwrap().extend([client.try_clone()?, store.try_clone()?]);
        let (head, rest) = read_head(&mut client)?;
        let length = header(&head, "content-length").unwrap_or(0);
        if mood == Mood::Failing && odd {
            std::io::copy(&mut (&client).take(length.saturating_sub(wide(rest.len()))), &mut std::io::sink())?;
            let status = ["500 Internal Server Error", "503 Slow Down"][usize::from(length.is_multiple_of(2))];
            return client
                .write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").as_bytes());
        }
        // The last request of its connection: the answer ends with it.
        let head = head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
        store.write_all(head.as_bytes())?;
        store.write_all(&rest)?;
        std::io::copy(&mut (&client).take(length.saturating_sub(wide(rest.len()))), &mut store)?;
        let mut answer = Vec::new();
        store.read_to_end(&mut answer)?;
        match mood {
            Mood::Cut if odd => answer.truncate(answer.len() / 2),
            Mood::Silent if odd => answer.clear(),
            Mood::Lying if head.starts_with("GET") && head.contains("/packs/") && !answer.is_empty() => {
                let last = answer.len() - 1;
                answer[last] ^= 1;
            }
            _ => {}
        }
        client.write_all(&answer)
    }
}

/// The head of a request, and what came of its body with it.
fn read_head(client: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 64 << 10];
    loop {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            let rest = bytes.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), rest));
        }
        match client.read(&mut buffer)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            len => bytes.extend_from_slice(&buffer[..len]),
        }
    }
}

fn header(head: &str, name: &str) -> Option<u64> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.eq_ignore_ascii_case(name))?.1.trim().parse().ok()
}

fn wide(number: usize) -> u64 {
    number.try_into().unwrap()
}
