//! Objects in a bucket of a store that speaks S3. Requests are signed by `rusty-s3`, which sends nothing itself, and sent like those to
//! registries. Small objects are put at once, large ones in parts, both only under a name that nobody has; what fails for a
//! moment is sent again.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use attohttpc::header::{ETAG, HeaderName, IF_NONE_MATCH, RANGE};
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
        Ok(Self { bucket, credentials, prefix, session })
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Sends a request until it is answered; `accept` looks at the answer.
    fn ask<T>(
        &self,
        name: &str,
        (method, url): (Method, Url),
        (body, alone): (&[u8], bool),
        accept: impl FnMut(Response) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let alone = alone.then(|| (IF_NONE_MATCH, "*".to_owned()));
        self.ask_with(name, (method, url), (body, alone.as_slice()), accept)
    }

    fn ask_with<T>(
        &self,
        name: &str,
        (method, url): (Method, Url),
        (body, headers): (&[u8], &[(HeaderName, String)]),
        mut accept: impl FnMut(Response) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let mut pause = PAUSE;
        for attempt in 1.. {
            let mut request = match method {
                Method::PUT => self.session.put(&url),
                Method::POST => self.session.post(&url),
                Method::DELETE => self.session.delete(&url),
                _ => self.session.get(&url),
            };
            for (header, value) in headers {
                request = request.header(header, value);
            }
            let answer = request.bytes(body).send().map_err(|error| Failure::Passing(error.to_string()));
            match answer.and_then(|answer| accept(checked(answer)?)) {
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

    fn put_part(&self, name: &str, upload: &str, number: u16, part: &[u8]) -> Result<String, Error> {
        let key = self.key(name);
        let url = UploadPart::new(&self.bucket, Some(&self.credentials), &key, number, upload).sign(SIGNED);
        self.ask(name, (Method::PUT, url), (part, false), |answer| {
            let tag = answer.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
            tag.ok_or_else(|| Failure::Final("a part was answered without an ETag".to_owned()))
        })
    }

    fn put_parts(&self, name: &str, file: &File, len: u64) -> Result<(), Error> {
        let (key, credentials) = (self.key(name), Some(&self.credentials));
        let url = CreateMultipartUpload::new(&self.bucket, credentials, &key).sign(SIGNED);
        let upload = self.ask(name, (Method::POST, url), (&[], false), |answer| {
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
            self.ask(name, (Method::POST, url), (body.as_bytes(), true), |answer| {
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
            if let Err(error) = self.ask(name, (Method::DELETE, url), (&[], false), |_| Ok(())) {
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
        self.ask(name, (Method::PUT, url), (&content, true), |_| Ok(()))
    }

    fn get(&self, name: &str, to: &File, bytes_max: u64) -> Result<bool, Error> {
        let url = GetObject::new(&self.bucket, Some(&self.credentials), &self.key(name)).sign(SIGNED);
        self.ask(name, (Method::GET, url), (&[], false), |answer| {
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

    fn read(&self, name: &str, range: Range<u64>) -> Result<Option<Vec<u8>>, Error> {
        let url = GetObject::new(&self.bucket, Some(&self.credentials), &self.key(name)).sign(SIGNED);
        let len = super::len(&range);
        if len == 0 {
            return Ok(Some(Vec::new()));
        }
        let wanted = [(RANGE, format!("bytes={}-{}", range.start, range.end - 1))];
        self.ask_with(name, (Method::GET, url), (&[], &wanted), |answer| match answer.status() {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::PARTIAL_CONTENT => {
                let (_, _, body) = answer.split();
                let mut bytes = Vec::with_capacity(len);
                // One byte more would be another range than was asked for.
                let read = body.take(u64::try_from(len).expect("usize fits in u64") + 1).read_to_end(&mut bytes);
                match read {
                    Ok(read) if read == len => Ok(Some(bytes)),
                    Ok(read) => Err(Failure::Passing(format!("{read} bytes came where {len} were asked for"))),
                    Err(error) => Err(Failure::Passing(error.to_string())),
                }
            }
            status => Err(Failure::Final(format!("a range was answered with {status}"))),
        })
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        let url = DeleteObject::new(&self.bucket, Some(&self.credentials), &self.key(name)).sign(SIGNED);
        self.ask(name, (Method::DELETE, url), (&[], false), |_| Ok(()))
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
            let page = self.ask(&below, (Method::GET, list.sign(SIGNED)), (&[], false), |answer| {
                let found = answer.status() != StatusCode::NOT_FOUND;
                let text = document(answer)?;
                if !found {
                    return Err(Failure::Final("there is no such bucket".to_owned()));
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

    fn local(&self) -> Option<&Path> {
        None
    }
}

/// An answer that can be used: success, or that something is not there, or is there already.
fn checked(answer: Response) -> Result<Response, Failure> {
    let status = answer.status();
    match status {
        StatusCode::NOT_FOUND | StatusCode::PRECONDITION_FAILED => Ok(answer),
        // 409: another request for the same name is under way.
        StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            Err(Failure::Passing(status.to_string()))
        }
        _ if status.is_success() => Ok(answer),
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
