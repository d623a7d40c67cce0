//! Objects in a bucket of a store that speaks S3. Requests are signed by `rusty-s3`, which sends nothing itself, and sent like those to
//! registries. Small objects are put at once, large ones in parts, both only under a name that nobody has; what fails for a
//! moment is sent again.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use attohttpc::header::{CONTENT_RANGE, ETAG, HeaderMap, HeaderName, IF_NONE_MATCH, RANGE};
use attohttpc::{Method, Response, Session, StatusCode};
use rusty_s3::actions::{
    AbortMultipartUpload, CompleteMultipartUpload, CreateMultipartUpload, DeleteObject, GetObject, ListObjectsV2,
    PutObject, UploadPart,
};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use url::Url;

use super::Place;
use crate::error::Error;

/// Bytes of a part, which are in memory; the store allows 10,000 of them.
const PART_BYTES: u64 = 32 << 20;

/// Bytes that are read at once, and that are left out where all of them are zero.
const READ_BYTES: usize = 64 << 10;

/// How often a request is sent.
const TRIES: u32 = 6;

/// The pause before the second try; each is twice as long as the one before.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a signature is good.
const SIGNED: Duration = Duration::from_secs(900);

const CONNECT: Duration = Duration::from_secs(5);
const READ: Duration = Duration::from_secs(60);

/// The most bytes of an answer that is a document.
const DOCUMENT_BYTES_MAX: u64 = 8 << 20;

pub(super) struct S3 {
    bucket: Bucket,
    credentials: Credentials,
    /// With a `/` at its end, if it is not empty.
    prefix: String,
    session: Session,
}

/// Names the bucket, and no credentials.
impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3({}, {})", self.bucket.base_url(), self.prefix)
    }
}

/// Why a request did not go well.
enum Failure {
    /// It may go well if it is sent again.
    Passing(String),
    Final(String),
}

/// What a request has beside its name.
#[derive(Default)]
struct More<'a> {
    body: &'a [u8],
    header: Option<(HeaderName, String)>,
    /// What it may be answered with beside success.
    beside: &'a [StatusCode],
}

const NO_BUCKET: &str = "there is no such bucket";

/// Something is not there.
const GONE: More<'_> = More { body: &[], header: None, beside: &[StatusCode::NOT_FOUND] };

impl<'a> More<'a> {
    fn body(body: &'a [u8]) -> Self {
        Self { body, ..Self::default() }
    }

    /// Under a name that nobody has; that somebody has it is an answer too.
    fn alone(body: &'a [u8]) -> Self {
        Self { body, header: Some((IF_NONE_MATCH, "*".to_owned())), beside: &[StatusCode::PRECONDITION_FAILED] }
    }
}

impl S3 {
    /// For `BUCKET` or `BUCKET/PREFIX`. Endpoint, region and credentials are those of the environment, as other clients read them.
    pub(super) fn open(place: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Error::Object { name: format!("s3://{place}"), why: why.to_owned() };
        let (name, prefix) = place.split_once('/').unwrap_or((place, ""));
        if name.is_empty() {
            return Err(wrong("this is no bucket: write s3://BUCKET/PREFIX"));
        }
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let region =
            variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION")).unwrap_or_else(|| "us-east-1".to_owned());
        let endpoint = variable("AWS_ENDPOINT_URL").unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let endpoint: Url = endpoint.parse().map_err(|_| wrong("AWS_ENDPOINT_URL is no URL"))?;
        let bucket = Bucket::new(endpoint, UrlStyle::Path, name.to_owned(), region);
        let bucket = bucket.map_err(|_| wrong("this is no bucket: write s3://BUCKET/PREFIX"))?;
        let credentials = Credentials::from_env();
        let credentials = credentials
            .ok_or_else(|| wrong("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY have to be in the environment"))?;
        let mut session = Session::new();
        session.connect_timeout(CONNECT);
        session.read_timeout(READ);
        session.follow_redirects(false);
        let prefix = prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let s3 = Self { bucket, credentials, prefix, session };
        match s3.check() {
            Ok(()) => Ok(s3),
            Err(Failure::Passing(why) | Failure::Final(why)) => Err(wrong(&why)),
        }
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Asks whether the bucket can be used, so that who starts a service hears of a mistake. A store that can't be reached now may be later.
    fn check(&self) -> Result<(), Failure> {
        let mut list = ListObjectsV2::new(&self.bucket, Some(&self.credentials));
        list.with_prefix(&self.prefix);
        list.with_max_keys(1);
        let request = (Method::GET, list.sign(SIGNED));
        match self.once(&request, &GONE, |answer| Ok(answer.status())) {
            Ok(StatusCode::NOT_FOUND) => Err(Failure::Final(NO_BUCKET.to_owned())),
            Err(Failure::Passing(why)) => {
                tracing::warn!(why, "the object store can't be asked whether there is the bucket");
                Ok(())
            }
            answered => answered.map(drop),
        }
    }

    /// Sends a request until it is answered as it may be; `accept` looks at the answer.
    fn ask<T>(
        &self,
        name: &str,
        request: (Method, Url),
        more: &More<'_>,
        mut accept: impl FnMut(Response) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let mut pause = PAUSE;
        for attempt in 1.. {
            match self.once(&request, more, &mut accept) {
                Ok(accepted) => return Ok(accepted),
                Err(Failure::Passing(why)) if attempt < TRIES => {
                    tracing::warn!(name, why, "the object store failed; trying again");
                    std::thread::sleep(pause);
                    pause *= 2;
                }
                Err(Failure::Passing(why) | Failure::Final(why)) => {
                    return Err(Error::Object { name: name.to_owned(), why });
                }
            }
        }
        unreachable!("the last attempt returns")
    }

    fn once<T>(
        &self,
        (method, url): &(Method, Url),
        more: &More<'_>,
        accept: impl FnOnce(Response) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut request = match *method {
            Method::PUT => self.session.put(url),
            Method::POST => self.session.post(url),
            Method::DELETE => self.session.delete(url),
            _ => self.session.get(url),
        };
        if let Some((header, value)) = &more.header {
            request = request.header(header, value);
        }
        let answer = request.bytes(more.body).send().map_err(|error| Failure::Passing(error.to_string()))?;
        accept(checked(answer, more.beside)?)
    }

    fn put_part(&self, name: &str, upload: &str, number: u16, part: &[u8]) -> Result<String, Error> {
        let key = self.key(name);
        let url = UploadPart::new(&self.bucket, Some(&self.credentials), &key, number, upload).sign(SIGNED);
        self.ask(name, (Method::PUT, url), &More::body(part), |answer| {
            let tag = answer.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
            tag.ok_or_else(|| Failure::Final("a part was answered without an ETag".to_owned()))
        })
    }

    fn put_parts(&self, name: &str, file: &File, len: u64) -> Result<(), Error> {
        let (key, credentials) = (self.key(name), Some(&self.credentials));
        let url = CreateMultipartUpload::new(&self.bucket, credentials, &key).sign(SIGNED);
        let upload = self.ask(name, (Method::POST, url), &More::default(), |answer| {
            let text = document(answer)?;
            let parsed =
                CreateMultipartUpload::parse_response(&text).map_err(|error| Failure::Final(error.to_string()))?;
            Ok(parsed.upload_id().to_owned())
        })?;
        let put = || {
            let mut tags = Vec::new();
            let (mut at, mut number) = (0, 0);
            while at < len {
                let part = read(file, at, PART_BYTES.min(len - at)).map_err(Error::file(name))?;
                number += 1;
                tags.push(self.put_part(name, &upload, number, &part)?);
                at += PART_BYTES;
            }
            let tags = tags.iter().map(String::as_str);
            let complete = CompleteMultipartUpload::new(&self.bucket, credentials, &key, &upload, tags);
            let url = complete.sign(SIGNED);
            let body = complete.body();
            self.ask(name, (Method::POST, url), &More::alone(body.as_bytes()), |answer| {
                // This one answer may be an error with the status of success.
                let taken = answer.status() == StatusCode::PRECONDITION_FAILED;
                let text = document(answer)?;
                if taken || !text.contains("<Error>") {
                    Ok(())
                } else {
                    Err(Failure::Passing("the parts were not joined".to_owned()))
                }
            })
        };
        let put = put();
        if put.is_err() {
            let url = AbortMultipartUpload::new(&self.bucket, credentials, &key, &upload).sign(SIGNED);
            // Why it could not be put says more than that its parts stay, which the bucket's own rule removes.
            if let Err(error) = self.ask(name, (Method::DELETE, url), &GONE, |_| Ok(())) {
                tracing::warn!(name, error = %drydock::explain(&error), "the parts of an upload that failed stay");
            }
        }
        put
    }
}

impl Place for S3 {
    fn put(&self, name: &str, file: &File) -> Result<(), Error> {
        let len = file.metadata().map_err(Error::file(name))?.len();
        if len > PART_BYTES {
            return self.put_parts(name, file, len);
        }
        let content = read(file, 0, len).map_err(Error::file(name))?;
        let url = PutObject::new(&self.bucket, Some(&self.credentials), &self.key(name)).sign(SIGNED);
        self.ask(name, (Method::PUT, url), &More::alone(&content), |_| Ok(()))
    }

    fn get(&self, name: &str, to: &File, bytes_max: u64) -> Result<bool, Error> {
        let url = GetObject::new(&self.bucket, Some(&self.credentials), &self.key(name)).sign(SIGNED);
        self.ask(name, (Method::GET, url), &GONE, |answer| {
            if answer.status() == StatusCode::NOT_FOUND {
                return Ok(false);
            }
            let (_, _, body) = answer.split();
            match write(body.take(bytes_max.saturating_add(1)), to) {
                Ok(len) if len > bytes_max => Err(Failure::Final("it is larger than it can be".to_owned())),
                Ok(_) => Ok(true),
                Err(error) => Err(Failure::Passing(error.to_string())),
            }
        })
    }

    fn read(&self, name: &str, at: u64, len: usize) -> Result<Option<Vec<u8>>, Error> {
        let url = GetObject::new(&self.bucket, Some(&self.credentials), &self.key(name)).sign(SIGNED);
        let asked = u64::try_from(len).expect("usize fits in u64");
        if asked == 0 {
            return Ok(Some(Vec::new()));
        }
        let range = (RANGE, format!("bytes={at}-{}", at.saturating_add(asked - 1)));
        let beside = &[StatusCode::NOT_FOUND, StatusCode::RANGE_NOT_SATISFIABLE];
        let more = More { header: Some(range), beside, ..More::default() };
        self.ask(name, (Method::GET, url), &more, |answer| match answer.status() {
            StatusCode::NOT_FOUND => Ok(None),
            // It ends before.
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(Some(Vec::new())),
            StatusCode::PARTIAL_CONTENT => {
                let (_, headers, body) = answer.split();
                let there = object_bytes(&headers).map_or(asked, |object| object.saturating_sub(at).min(asked));
                let mut bytes = Vec::with_capacity(len);
                // One byte more would be another range than was asked for.
                match body.take(asked + 1).read_to_end(&mut bytes).map(u64::try_from) {
                    Ok(Ok(read)) if read == there => Ok(Some(bytes)),
                    Ok(_) => Err(Failure::Passing(format!("not the {there} bytes came that are there"))),
                    Err(error) => Err(Failure::Passing(error.to_string())),
                }
            }
            status => Err(Failure::Final(format!("a range was answered with {status}"))),
        })
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        let url = DeleteObject::new(&self.bucket, Some(&self.credentials), &self.key(name)).sign(SIGNED);
        self.ask(name, (Method::DELETE, url), &GONE, |_| Ok(()))
    }

    fn list(&self, below: &str) -> Result<Vec<String>, Error> {
        let below = self.key(&format!("{below}/"));
        let mut names = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut list = ListObjectsV2::new(&self.bucket, Some(&self.credentials));
            list.with_prefix(&below);
            if let Some(token) = token {
                list.with_continuation_token(token);
            }
            let page = self.ask(&below, (Method::GET, list.sign(SIGNED)), &GONE, |answer| {
                let found = answer.status() != StatusCode::NOT_FOUND;
                let text = document(answer)?;
                if !found {
                    return Err(Failure::Final(NO_BUCKET.to_owned()));
                }
                // What is no list may be half of one.
                ListObjectsV2::parse_response(&text).map_err(|error| Failure::Passing(error.to_string()))
            })?;
            names.extend(page.contents.iter().filter_map(|one| one.key.strip_prefix(&self.prefix)).map(str::to_owned));
            token = page.next_continuation_token;
            if token.is_none() {
                names.sort_unstable();
                return Ok(names);
            }
        }
    }
}

/// The size of the object that a range is of: `Content-Range: bytes FIRST-LAST/SIZE` (RFC 9110, 14.4).
fn object_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_RANGE)?.to_str().ok()?.rsplit_once('/')?.1.parse().ok()
}

/// An answer that can be used: success, or one of those `beside` it.
fn checked(answer: Response, beside: &[StatusCode]) -> Result<Response, Failure> {
    let status = answer.status();
    match status {
        _ if status.is_success() || beside.contains(&status) => Ok(answer),
        // 409: another request for the same name is under way.
        StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            Err(Failure::Passing(status.to_string()))
        }
        _ if status.is_server_error() => Err(Failure::Passing(status.to_string())),
        _ => {
            let said = document(answer).unwrap_or_default();
            let said: String = said.chars().filter(|one| !one.is_control()).take(300).collect();
            Err(Failure::Final(format!("{status}: {said}")))
        }
    }
}

fn document(answer: Response) -> Result<String, Failure> {
    let (_, _, body) = answer.split();
    let mut text = String::new();
    let read = body.take(DOCUMENT_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| Failure::Passing(error.to_string()))?;
    Ok(text)
}

fn read(file: &File, at: u64, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len).expect("a part is small")];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

/// Writes everything from the beginning of a file on, and leaves out what is zero. Gives the number of bytes.
fn write(mut from: impl Read, to: &File) -> io::Result<u64> {
    to.set_len(0)?;
    let mut buffer = vec![0; READ_BYTES];
    let mut at = 0;
    loop {
        let mut len = 0;
        while len < READ_BYTES {
            match from.read(&mut buffer[len..])? {
                0 => break,
                more => len += more,
            }
        }
        if len == 0 {
            to.set_len(at)?;
            return Ok(at);
        }
        if buffer[..len].iter().any(|&byte| byte != 0) {
            to.write_all_at(&buffer[..len], at)?;
        }
        at += u64::try_from(len).expect("usize fits in u64");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// A store that gives these answers, one a connection, and what was asked of it.
    fn store(answers: &'static [&'static str]) -> (S3, std::thread::JoinHandle<Vec<String>>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url: Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let serve = move || {
            let one = |answer: &&str| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut asked = Vec::new();
                while !asked.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    asked.push(byte[0]);
                }
                std::io::Write::write_all(&mut stream, answer.as_bytes()).unwrap();
                String::from_utf8(asked).unwrap()
            };
            answers.iter().map(one).collect()
        };
        let bucket = Bucket::new(url, UrlStyle::Path, "b", "r").unwrap();
        let credentials = Credentials::new("id", "secret");
        let s3 = S3 { bucket, credentials, prefix: String::new(), session: Session::new() };
        (s3, std::thread::spawn(serve))
    }

    #[test]
    fn what_the_bucket_did_not_take_is_not_put() {
        const GONE: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 12\r\nConnection: close\r\n\r\nNoSuchBucket";
        const TAKEN: &str = "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let file = tempfile::tempfile().unwrap();
        const CLOSED: &str = "HTTP/1.1 403 Forbidden\r\nContent-Length: 12\r\nConnection: close\r\n\r\nAccessDenied";
        const BUSY: &str = "HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let (s3, asked) = store(&[GONE, TAKEN, GONE, CLOSED, BUSY]);
        let refused = drydock::explain(&s3.put("name", &file).unwrap_err());
        assert!(refused.contains("404") && refused.contains("NoSuchBucket"), "{refused}");
        s3.put("name", &file).unwrap();
        let Err(Failure::Final(why)) = s3.check() else { panic!("there is a bucket") };
        assert_eq!(why, NO_BUCKET);
        let Err(Failure::Final(why)) = s3.check() else { panic!("anybody may use it") };
        assert!(why.contains("AccessDenied"), "{why}");
        assert!(s3.check().is_ok(), "it may be there in a moment");
        let asked = asked.join().unwrap();
        assert!(asked[0].starts_with("PUT /b/name?") && asked[2].contains("max-keys=1"), "{asked:?}");
    }

    #[test]
    fn a_read_is_whole_up_to_the_end_of_the_object() {
        const PART: &str = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 8-9/10\r\nContent-Length: 2\r\n\
                            Connection: close\r\n\r\n89";
        const SHORT: &str =
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 8-11/20\r\nConnection: close\r\n\r\n89";
        const BEHIND: &str = "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let (s3, asked) = store(&[PART, SHORT, PART, BEHIND]);
        assert_eq!(s3.read("name", 8, 4).unwrap().as_deref(), Some(&b"89"[..]));
        // Two bytes where four are there: it is asked again.
        assert_eq!(s3.read("name", 8, 4).unwrap().as_deref(), Some(&b"89"[..]));
        assert_eq!(s3.read("name", 10, 4).unwrap().as_deref(), Some(&b""[..]));
        assert!(asked.join().unwrap()[0].contains("bytes=8-11"));
    }

    #[test]
    fn a_place_without_a_bucket_is_refused() {
        for place in ["", "/prefix"] {
            let refused = S3::open(place).unwrap_err().to_string();
            assert!(refused.contains("s3://BUCKET/PREFIX"), "{refused}");
        }
    }

    #[test]
    fn what_is_zero_becomes_a_hole() {
        let file = tempfile::tempfile().unwrap();
        let mut content = vec![0; 40 << 20];
        content[20 << 20] = 1;
        content.push(2);
        let len = write(content.as_slice(), &file).unwrap();
        assert_eq!(len, (40 << 20) + 1);
        assert_eq!(read(&file, 0, len).unwrap(), content);
        assert!(file.metadata().unwrap().blocks() < 1_000);
        // Sent again after it broke off: nothing of the first time stays.
        assert_eq!(write(&b"short"[..], &file).unwrap(), 5);
        assert_eq!(read(&file, 0, file.metadata().unwrap().len()).unwrap(), b"short");
    }
}
