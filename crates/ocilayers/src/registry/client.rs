//! Requests to one host: TLS, tokens, redirects, retries. Everything that comes is bounded.

use std::fmt::{Debug, Formatter};
use std::io::{self, Read};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use attohttpc::header::{ACCEPT, AUTHORIZATION, HeaderMap, RANGE, USER_AGENT};
use attohttpc::{ErrorKind, ProxySettings, Session};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use url::Url;

use super::challenge::{Challenge, challenges};
use super::credentials;
use super::name::RegistryName;
use super::options::{Credentials, RegistryOptions};

/// Where the registry `docker.io` really is.
const DOCKER_HUB: &str = "registry-1.docker.io";
/// Redirects of one request.
const REDIRECTS_MAX: u32 = 5;
/// Headers of one answer.
const HEADERS_MAX: usize = 100;
/// Bytes of an answer with a token.
const TOKEN_MAX: u64 = 64 << 10;
/// Bytes of the reason that is read of a refusal.
const REASON_MAX: u64 = 4 << 10;
/// The first wait before a request is made again; each one after it is twice as long, up to the longest.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How long a small document may take as a whole, in stall deadlines.
const DOCUMENT_DEADLINES: u32 = 4;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    /// Below the repository: `manifests/latest`, `blobs/sha256:...`.
    pub(super) path: &'a str,
    pub(super) accept: &'a [&'a str],
    /// The first byte wanted.
    pub(super) from: u64,
    /// Whether a small document is to come, which has a deadline for the whole of it.
    pub(super) document: bool,
}

/// A good answer.
pub(super) struct Response {
    pub(super) status: u16,
    headers: HeaderMap,
    pub(super) body: Box<dyn Read + Send>,
}

impl Response {
    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name)?.to_str().ok().map(str::to_owned)
    }
}

impl Debug for Response {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Why there is none.
#[derive(Debug)]
pub(super) enum Failure {
    Cancelled,
    /// This host has no answer; another may have one.
    Refused(String),
}

/// What to do about an answer.
enum Verdict {
    Good(Response),
    Unauthorized(Vec<Challenge>),
    /// To be asked again, after the time that the host said.
    Again(String, Option<Duration>),
}

/// One host that may have the image.
pub(super) struct Client {
    /// The repository, with a slash at its end.
    base: Url,
    repository: String,
    session: Session,
    options: RegistryOptions,
    /// The registry that credentials are looked up for; none for mirrors of another host.
    host: String,
    /// The header of the last good request.
    authorization: Mutex<Option<String>>,
}

impl Debug for Client {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn of_registry(name: &RegistryName, options: &RegistryOptions) -> Result<Self, String> {
        let host = if name.host() == "docker.io" { DOCKER_HUB } else { name.host() };
        let scheme = if options.insecure.iter().any(|insecure| insecure == host) { "http" } else { "https" };
        Self::new(&format!("{scheme}://{host}"), name.host(), name, options)
    }

    pub(super) fn of_mirror(url: &str, name: &RegistryName, options: &RegistryOptions) -> Result<Self, String> {
        let parsed = Url::parse(url).map_err(|error| format!("the mirror '{url}' is no URL: {error}"))?;
        let host = authority(&parsed);
        if parsed.scheme() == "http" && !options.insecure.contains(&host) {
            return Err(format!("the mirror '{url}' is without TLS; name '{host}' as insecure to allow that"));
        }
        Self::new(url, &host, name, options)
    }

    fn new(url: &str, host: &str, name: &RegistryName, options: &RegistryOptions) -> Result<Self, String> {
        let base = format!("{}/v2/{}/", url.trim_end_matches('/'), name.repository());
        let base = Url::parse(&base).map_err(|error| format!("'{url}' is no address of a registry: {error}"))?;
        let mut session = Session::new();
        session.follow_redirects(false);
        session.max_headers(HEADERS_MAX);
        session.connect_timeout(options.connect_deadline);
        session.read_timeout(options.stall_deadline);
        session.header(USER_AGENT, concat!("drydock/", env!("CARGO_PKG_VERSION")));
        if !options.proxies_of_environment {
            session.proxy_settings(ProxySettings::builder().build());
        }
        if let Some(file) = &options.ca_file {
            let wrong = |error| format!("the certificates in '{}' can't be read: {error}", file.display());
            for certificate in CertificateDer::pem_file_iter(file).map_err(wrong)? {
                session.add_root_certificate(certificate.map_err(wrong)?);
            }
        }
        Ok(Self {
            base,
            repository: name.repository().to_owned(),
            session,
            options: options.clone(),
            host: host.to_owned(),
            authorization: Mutex::new(None),
        })
    }

    /// How a request to this host is named in messages.
    pub(super) fn place(&self, path: &str) -> String {
        format!("{} of {}/{}", path, authority(&self.base), self.repository)
    }

    /// Asks until there is an answer, or no more sense in asking.
    pub(super) fn get(&self, request: &Request<'_>) -> Result<Response, Failure> {
        let (mut failures, mut authorized) = (0, false);
        loop {
            if self.options.is_cancelled() {
                return Err(Failure::Cancelled);
            }
            match self.follow(request)? {
                Verdict::Good(response) => return Ok(response),
                Verdict::Unauthorized(challenges) if !authorized => {
                    authorized = true;
                    let header = self.authorize(&challenges)?;
                    *self.authorization.lock().expect("nobody panics with it") = Some(header);
                }
                Verdict::Unauthorized(_) => {
                    return refused("the credentials are not accepted for it, or it does not exist there");
                }
                Verdict::Again(why, after) => {
                    failures += 1;
                    if failures > self.options.retries {
                        return refused(format!(
                            "{why}, {failures} times; check its name and port, or try again later"
                        ));
                    }
                    tracing::warn!(host = %authority(&self.base), path = request.path, why, "asked again");
                    pause(failures, after, &self.options)?;
                }
            }
        }
    }

    /// One request, followed to where it leads. Who is asked says where; what is ours goes to our host alone.
    fn follow(&self, request: &Request<'_>) -> Result<Verdict, Failure> {
        let url = self.base.join(request.path);
        let mut url = url.map_err(|error| Failure::Refused(format!("it can't be asked for: {error}")))?;
        for _ in 0..=REDIRECTS_MAX {
            let (status, headers, body) = match self.send(&url, request) {
                Ok(response) => response.split(),
                Err(error) => return self.unreachable(&url, &error),
            };
            let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
            let reason = match status.as_u16() {
                200 | 206 => {
                    return Ok(Verdict::Good(Response { status: status.as_u16(), headers, body: Box::new(body) }));
                }
                301 | 302 | 303 | 307 | 308 => {
                    url = self.redirected(&url, header("location").unwrap_or_default())?;
                    continue;
                }
                // Another host may want anything: what is ours is not for it, and not for a realm that it names.
                401 if url.origin() != self.base.origin() => "the host that it redirects to wants credentials",
                401 => {
                    let all = headers.get_all("www-authenticate").iter().filter_map(|value| value.to_str().ok());
                    return Ok(Verdict::Unauthorized(all.flat_map(challenges).collect()));
                }
                408 | 429 | 500 | 502 | 503 | 504 => {
                    let after = header("retry-after").and_then(retry_after);
                    return Ok(Verdict::Again(format!("the registry says {status}{}", reason(body)), after));
                }
                403 => "access is denied",
                404 => "it does not exist there",
                416 => "the registry has less of it than before",
                _ => "an answer that is not expected",
            };
            return refused(format!("{reason} ({status}{})", self::reason(body)));
        }
        refused(format!("more than {REDIRECTS_MAX} redirects"))
    }

    fn send(&self, url: &Url, request: &Request<'_>) -> attohttpc::Result<attohttpc::Response> {
        let mut builder = self.session.get(url.as_str());
        if !request.accept.is_empty() {
            builder = builder.try_header(ACCEPT, request.accept.join(", "))?;
        }
        if request.from > 0 {
            builder = builder.try_header(RANGE, format!("bytes={}-", request.from))?;
        }
        if request.document {
            builder = builder.timeout(self.options.stall_deadline * DOCUMENT_DEADLINES);
        }
        if url.origin() == self.base.origin() {
            let own = self.authorization.lock().expect("nobody panics with it").clone();
            if let Some(own) = own {
                builder = builder.try_header(AUTHORIZATION, own)?;
            }
        }
        builder.send()
    }

    /// A connection that failed may work later, but for a certificate that is not trusted.
    fn unreachable(&self, url: &Url, error: &attohttpc::Error) -> Result<Verdict, Failure> {
        let why = match error.kind() {
            ErrorKind::Io(error) => explain(error, &self.options),
            _ => error.to_string(),
        };
        let host = authority(url);
        if why.contains("certificate") {
            return refused(format!("'{host}' is not trusted: {why}; give its authority as a CA file"));
        }
        if why.contains("InvalidContentType") || why.contains("corrupt message") {
            return refused(format!("'{host}' does not speak TLS; name it as insecure to allow that"));
        }
        Ok(Verdict::Again(format!("'{host}' can't be reached: {why}"), None))
    }

    fn redirected(&self, from: &Url, location: &str) -> Result<Url, Failure> {
        let to = from.join(location);
        let to = to.map_err(|error| Failure::Refused(format!("the registry redirects to no address: {error}")))?;
        let allowed = match to.scheme() {
            "https" => true,
            "http" => from.scheme() == "http" && self.options.insecure.contains(&authority(&to)),
            _ => false,
        };
        if allowed { Ok(to) } else { refused(format!("it redirects to '{}', which is without TLS", authority(&to))) }
    }

    /// The header that answers one of the challenges.
    fn authorize(&self, challenges: &[Challenge]) -> Result<String, Failure> {
        let own = match self.options.credentials.get(&self.host) {
            Some(own) => Some(own.clone()),
            None => match &self.options.docker_config {
                Some(path) => credentials::of_docker_config(path, &self.host).map_err(Failure::Refused)?,
                None => None,
            },
        };
        match (challenges.first(), own) {
            (Some(Challenge::Bearer { realm, service, scope }), own) => {
                let pull = format!("repository:{}:pull", self.repository);
                let scope = scope.as_deref().unwrap_or(&pull);
                Ok(format!("Bearer {}", self.token(realm, service.as_deref(), scope, own)?))
            }
            (Some(Challenge::Basic), Some(Credentials::Basic { user, password })) => Ok(basic(&user, &password)),
            (Some(Challenge::Basic), _) => {
                refused(format!("it needs a user and a password; log in to '{}' first (docker login)", self.host))
            }
            (None, _) => refused("it asks for a kind of credentials that is not known here"),
        }
    }

    /// A token for one repository (distribution documentation, "Token Authentication" and "OAuth2 Token Authentication").
    fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: &str,
        own: Option<Credentials>,
    ) -> Result<String, Failure> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        let wrong = |why: String| Failure::Refused(format!("its token service can't be asked: {why}"));
        let url = Url::parse(realm).map_err(|error| wrong(error.to_string()))?;
        let host = authority(&url);
        if url.scheme() != "https" && !(url.scheme() == "http" && self.options.insecure.contains(&host)) {
            return Err(wrong(format!("'{host}' is without TLS; name it as insecure to allow that")));
        }
        let asked = |failed: u32| -> Result<_, Failure> {
            let mut fields = vec![("scope", scope)];
            fields.extend(service.map(|service| ("service", service)));
            let deadline = self.options.stall_deadline * DOCUMENT_DEADLINES;
            let sent = if let Some(Credentials::Identity(identity)) = &own {
                fields.extend([("grant_type", "refresh_token"), ("client_id", "drydock"), ("refresh_token", identity)]);
                let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&fields).finish();
                let post = self.session.post(url.as_str()).timeout(deadline);
                post.header("content-type", "application/x-www-form-urlencoded").text(form).send()
            } else {
                let mut get = self.session.get(url.as_str()).params(fields).timeout(deadline);
                if let Some(Credentials::Basic { user, password }) = &own {
                    get = get
                        .try_header(AUTHORIZATION, basic(user, password))
                        .map_err(|error| wrong(error.to_string()))?;
                }
                get.send()
            };
            match sent {
                Ok(response)
                    if matches!(response.status().as_u16(), 429 | 500..=599) && failed < self.options.retries =>
                {
                    Ok(Err(response.headers().get("retry-after").and_then(|value| retry_after(value.to_str().ok()?))))
                }
                Ok(response) => Ok(Ok(response)),
                Err(_) if failed < self.options.retries => Ok(Err(None)),
                Err(error) => Err(wrong(error.to_string())),
            }
        };
        let mut failed = 0;
        let response = loop {
            match asked(failed)? {
                Ok(response) => break response,
                Err(after) => {
                    failed += 1;
                    pause(failed, after, &self.options)?;
                }
            }
        };
        let (status, _, body) = response.split();
        if !status.is_success() {
            return refused(format!(
                "'{host}' gives no token for it ({status}{}); log in to '{}' first",
                reason(body),
                self.host
            ));
        }
        // What the answer holds is in no message.
        let answer: Answer = serde_json::from_reader(body.take(TOKEN_MAX))
            .map_err(|_| wrong(format!("'{host}' answers with something that is no token")))?;
        let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty());
        token.ok_or_else(|| wrong(format!("'{host}' answers without a token")))
    }
}

fn refused<T>(why: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Refused(why.into()))
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// Host and port, the port left out where it is the usual one.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// An error of a connection in words.
pub(super) fn explain(error: &io::Error, options: &RegistryOptions) -> String {
    if is_timeout(error) {
        format!("nothing came for {} s", options.stall_deadline.as_secs_f32())
    } else {
        error.to_string()
    }
}

/// Whether nothing came in time, however the system says so.
pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// What a registry says about a refusal (distribution specification, "Error Codes"), made safe to show.
fn reason(body: impl Read) -> String {
    const SHOWN: usize = 200;
    let mut bytes = Vec::new();
    if body.take(REASON_MAX).read_to_end(&mut bytes).is_err() {
        return String::new();
    }
    let message = serde_json::from_slice::<serde_json::Value>(&bytes).ok();
    let message = message.as_ref().and_then(|value| value.pointer("/errors/0/message")?.as_str());
    let shown: String = message.unwrap_or_default().chars().filter(|letter| !letter.is_control()).take(SHOWN).collect();
    if shown.is_empty() { shown } else { format!(": {shown}") }
}

/// `Retry-After`: seconds or a date (RFC 9110, 10.2.3).
fn retry_after(value: &str) -> Option<Duration> {
    match value.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let date = httpdate::parse_http_date(value).ok()?;
            Some(date.duration_since(SystemTime::now()).unwrap_or_default())
        }
    }
}

/// Waits before a request is made for the n-th time again.
pub(super) fn pause(failures: u32, asked: Option<Duration>, options: &RegistryOptions) -> Result<(), Failure> {
    let own = PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(PAUSE_MAX);
    let wait = asked.unwrap_or(own);
    if wait > options.retry_after_max {
        let (wait, max) = (wait.as_secs(), options.retry_after_max.as_secs());
        return refused(format!("the registry asks to wait for {wait} s, more than the {max} s that are allowed"));
    }
    let end = Instant::now() + wait;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        if options.is_cancelled() {
            return Err(Failure::Cancelled);
        }
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_to_wait() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        let later = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        assert!((90..=100).contains(&retry_after(&later).unwrap().as_secs()));
        assert_eq!(retry_after("soon"), None);
        assert_eq!(retry_after("-1"), None);
        let options = RegistryOptions { retry_after_max: Duration::from_secs(2), ..RegistryOptions::default() };
        assert!(matches!(pause(1, Some(Duration::from_secs(3)), &options), Err(Failure::Refused(_))));
        assert!(pause(1, Some(Duration::ZERO), &options).is_ok());
    }

    #[test]
    fn reasons_are_short_and_without_control_characters() {
        let body = br#"{"errors":[{"code":"DENIED","message":"no\u001b[2J way"}]}"#;
        assert_eq!(reason(&body[..]), ": no[2J way");
        assert_eq!(reason(&b"<html>"[..]), "");
        let long = format!(r#"{{"errors":[{{"message":"{}"}}]}}"#, "x".repeat(1_000));
        assert_eq!(reason(long.as_bytes()).len(), 202);
    }
}
