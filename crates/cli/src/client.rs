//! The client's side of the API: requests, JSend answers, and a log that is followed over cut connections.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use attohttpc::{Method, Response};
use serde::Deserialize;
use serde_json::Value;

/// The longest silence of a server: it sends a line every 15 s while a log is followed.
const SILENCE: Duration = Duration::from_secs(60);

/// The most bytes of an answer that is no log.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// The longest line of a log.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// How often a request that may be repeated is sent.
const TRIES: u32 = 5;

/// Half of the first pause between two tries; each pause is twice as long as the one before.
const PAUSE: Duration = Duration::from_millis(200);

/// What `~/.config/drydock/client.toml` says.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    url: Option<String>,
    key: Option<String>,
}

/// A server, and who asks.
#[derive(Clone)]
pub(crate) struct Client {
    url: String,
    key: String,
    pause: Duration,
}

/// A line of a log, or a frame.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LogEvent {
    pub(crate) stream: String,
    pub(crate) step: usize,
    pub(crate) seq: Option<u64>,
    pub(crate) r#final: Option<bool>,
    pub(crate) status: String,
    pub(crate) next: Option<u64>,
}

/// Which lines of a log are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines {
    /// Those that come, too, until the build ends.
    pub(crate) follow: bool,
    /// From this number on.
    pub(crate) since: u64,
    /// Of this attempt alone.
    pub(crate) attempt: Option<u32>,
}

impl Client {
    /// The server of the arguments, else that of the user's file.
    pub(crate) fn new(url: Option<&str>, key: Option<&str>) -> anyhow::Result<Self> {
        let file = user_file()?;
        let url = url.map(str::to_owned).or(file.url).context(
            "which server? give --url, set DRYDOCK_URL, or write `url = \"http://...\"` to ~/.config/drydock/client.toml",
        )?;
        let key = key
            .map(str::to_owned)
            .or(file.key)
            .context("as whom? set DRYDOCK_API_KEY, or write `key = \"ddk_...\"` to ~/.config/drydock/client.toml")?;
        url::Url::parse(&url)
            .with_context(|| format!("'{url}' is no address of a server; write it as in http://127.0.0.1:8080"))?;
        Ok(Self { url: url.trim_end_matches('/').to_owned(), key, pause: PAUSE })
    }

    /// `data` of the answer. Requests that change nothing, or that may be repeated, are sent again when the server can't answer.
    pub(crate) fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&'static str, &str)],
    ) -> anyhow::Result<Value> {
        let repeatable = method == Method::GET || headers.iter().any(|(name, _)| *name == "Idempotency-Key");
        let mut tries = 1;
        loop {
            let sent = self.send(&method, path, body, headers);
            let wait = match &sent {
                Ok(response) if response.status().as_u16() == 503 => retry_after(response),
                Err(_) => self.pause * (1 << tries),
                Ok(_) => Duration::ZERO,
            };
            if !repeatable || wait.is_zero() || tries == TRIES {
                return data(sent?);
            }
            std::thread::sleep(wait);
            tries += 1;
        }
    }

    /// The bytes of an answer that is no document, at most so many; of a resource whole, or of a range of it. Sent again when the server
    /// can't answer, or the answer breaks off.
    pub(crate) fn bytes(&self, path: &str, range: Option<&Range<u64>>, bytes_max: u64) -> anyhow::Result<Vec<u8>> {
        let range_header = range.map(|range| format!("bytes={}-{}", range.start, range.end - 1));
        let headers: Vec<(&str, &str)> = range_header.iter().map(|range| ("Range", range.as_str())).collect();
        let status = if range.is_some() { 206 } else { 200 };
        let mut tries = 1;
        loop {
            let mut wait = self.pause * (1 << tries);
            let failed = match self.send(&Method::GET, path, None, &headers) {
                Ok(response) if response.status().as_u16() == status => match body(response, bytes_max) {
                    Ok(bytes) => return Ok(bytes),
                    Err(error) => error,
                },
                // Whatever else is a refusal, or passes: too many requests at once, a server that can't answer now.
                Ok(response) => {
                    let passing = response.status().as_u16() == 429 || response.status().is_server_error();
                    wait = wait.max(retry_after(&response));
                    let error = data(response).err().unwrap_or_else(|| anyhow!("the server gives no such bytes"));
                    if !passing {
                        return Err(error);
                    }
                    error
                }
                Err(error) => error,
            };
            if tries == TRIES {
                return Err(failed);
            }
            std::thread::sleep(wait);
            tries += 1;
        }
    }

    fn send(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<Response> {
        let mut request = attohttpc::RequestBuilder::new(method.clone(), format!("{}{path}", self.url))
            .header("X-Api-Key", &self.key)
            .header("User-Agent", concat!("drydock/", env!("CARGO_PKG_VERSION")))
            .follow_redirects(false)
            .read_timeout(SILENCE);
        for (name, value) in headers {
            let name = attohttpc::header::HeaderName::try_from(*name)?;
            request = request.header(name, *value);
        }
        let context = || format!("the server {} can't be reached; is `drydock serve` running there?", self.url);
        match body {
            Some(body) => {
                request.header("Content-Type", "application/json").text(body.to_string()).send().with_context(context)
            }
            None => request.send().with_context(context),
        }
    }

    /// Hands the lines of the log of a template, given by its path, to `on_line`; over cut connections. Gives the last frame; none
    /// where the log is not followed and has not ended.
    pub(crate) fn logs(
        &self,
        template: &str,
        Lines { follow, mut since, attempt }: Lines,
        on_line: &mut dyn FnMut(LogEvent) -> anyhow::Result<()>,
    ) -> anyhow::Result<Option<LogEvent>> {
        let mut rest = if follow { String::new() } else { "&follow=false".to_owned() };
        rest.extend(attempt.map(|attempt| format!("&attempt={attempt}")));
        // Tries in a row that brought no line, and those of them that failed: a proxy may cut a quiet log again and again.
        let (mut fruitless, mut failed) = (0, 0);
        loop {
            let (path, before) = (format!("{template}/logs?since={since}{rest}"), since);
            let read = self.read_log(&path, &mut since, on_line);
            let one_more = |tries: u32| if since > before { 1 } else { tries + 1 };
            fruitless = one_more(fruitless);
            match read {
                Ok(Some(frame)) if frame.r#final == Some(true) => return Ok(Some(frame)),
                Ok(None) if !follow => return Ok(None),
                Ok(_) => failed = 0,
                Err(Cut::Stop(error)) => return Err(error),
                Err(Cut::Connection(error)) if failed == TRIES => return Err(error),
                Err(Cut::Connection(_)) => failed = one_more(failed),
            }
            std::thread::sleep(self.pause * (1 << fruitless.min(5)));
        }
    }

    fn read_log(
        &self,
        path: &str,
        since: &mut u64,
        on_line: &mut dyn FnMut(LogEvent) -> anyhow::Result<()>,
    ) -> Result<Option<LogEvent>, Cut> {
        let response = self.send(&Method::GET, path, None, &[]).map_err(Cut::Connection)?;
        if !response.is_success() {
            let retry = response.status().is_server_error();
            let error = data(response).err().unwrap_or_else(|| anyhow!("the server gives no log"));
            return Err(if retry { Cut::Connection(error) } else { Cut::Stop(error) });
        }
        let mut reader = BufReader::new(response);
        let mut line = String::new();
        loop {
            line.clear();
            let read = reader.by_ref().take(LINE_BYTES_MAX).read_line(&mut line);
            read.map_err(|error| Cut::Connection(error.into()))?;
            // The end, or the connection was cut in the middle of a line, which comes again whole.
            if !line.ends_with('\n') && u64::try_from(line.len()).is_ok_and(|len| len < LINE_BYTES_MAX) {
                return Ok(None);
            }
            let event: LogEvent = serde_json::from_str(&line).map_err(|error| Cut::Stop(error.into()))?;
            if event.r#final.is_some() {
                *since = event.next.unwrap_or(*since);
                return Ok(Some(event));
            }
            if let Some(seq) = event.seq {
                *since = seq + 1;
                on_line(event).map_err(Cut::Stop)?;
            }
        }
    }
}

/// Why a log was not read to its end.
enum Cut {
    /// Coming back may help.
    Connection(anyhow::Error),
    /// It does not.
    Stop(anyhow::Error),
}

/// A body of at most so many bytes.
fn body(response: Response, bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let (_, _, reader) = response.split();
    reader.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).context("the answer of the server breaks off")?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > bytes_max) {
        bail!("the answer of the server is larger than it can be");
    }
    Ok(bytes)
}

fn retry_after(response: &Response) -> Duration {
    let seconds = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(1).min(30))
}

fn user_file() -> anyhow::Result<File> {
    let home = std::env::var_os("XDG_CONFIG_HOME").map(std::path::PathBuf::from);
    let home = home.or_else(|| Some(std::path::PathBuf::from(std::env::var_os("HOME")?).join(".config")));
    let Some(path) = home.map(|home| home.join("drydock/client.toml")) else { return Ok(File::default()) };
    match std::fs::read_to_string(&path) {
        Ok(text) => toml::from_str(&text).with_context(|| format!("{} can't be used", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(File::default()),
        Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
    }
}

/// What a JSend answer brings, or why it brings nothing.
fn data(response: Response) -> anyhow::Result<Value> {
    let (status, _, reader) = response.split();
    let mut text = String::new();
    reader.take(ANSWER_BYTES_MAX).read_to_string(&mut text).context("the answer of the server breaks off")?;
    let answer: Value = serde_json::from_str(&text)
        .with_context(|| format!("what answers (status {}) is no Drydock server", status.as_u16()))?;
    match answer["status"].as_str() {
        Some("success") => Ok(answer["data"].clone()),
        Some("fail") => Err(anyhow!(failure(&answer))),
        _ => {
            let id = answer["data"]["request_id"].as_str().unwrap_or("unknown");
            bail!("{} (request {id})", answer["message"].as_str().unwrap_or("the server failed"))
        }
    }
}

/// What a refusal says: of a Dockerfile every problem, else the message.
fn failure(answer: &Value) -> String {
    let message = answer["data"]["message"].as_str().unwrap_or("the request was refused");
    let Some(problems) = answer["diagnostics"].as_array() else { return message.to_owned() };
    let mut text = "the Dockerfile was refused".to_owned();
    for problem in problems {
        let [severity, message, code] =
            ["severity", "message", "code"].map(|key| problem[key].as_str().unwrap_or_default());
        let place = format!("{}:{}", problem["line"], problem["column"]);
        write!(text, "\n  {place}: {severity}: {message} [{code}]").expect("a text takes everything");
        if let Some(help) = problem["help"].as_str() {
            write!(text, "\n      help: {help}").expect("a text takes everything");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Shutdown, TcpListener};

    use super::*;

    const ALL: Lines = Lines { follow: true, since: 0, attempt: None };

    /// A client of a server that answers each request with the next of these bodies, which the end of the connection ends; then it is gone.
    fn client(bodies: Vec<String>) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for body in bodies {
                let (mut stream, _) = listener.accept().unwrap();
                let head = BufReader::new(&stream).lines().map(Result::unwrap);
                head.take_while(|line| !line.is_empty()).for_each(drop);
                write!(stream, "HTTP/1.1 200 OK\r\n\r\n{body}").unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
            }
        });
        Client { url, key: "k".to_owned(), pause: Duration::from_millis(1) }
    }

    fn line(seq: u64) -> String {
        format!("{{\"stream\":\"line {seq}\\n\",\"seq\":{seq}}}\n")
    }

    #[test]
    fn a_line_that_is_cut_off_comes_again() {
        let end = "{\"final\":true,\"status\":\"ready\",\"stream\":\"\"}\n";
        let client = client(vec![line(0) + &line(1)[..20], line(1) + end]);
        let mut text = String::new();
        let end = client.logs("/t", ALL, &mut |event| {
            text += &event.stream;
            Ok(())
        });
        assert_eq!(end.unwrap().unwrap().status, "ready");
        assert_eq!(text, "line 0\nline 1\n");
    }

    #[test]
    fn a_server_that_is_gone_is_given_up_however_long_its_log_was_quiet() {
        let client = client(vec![String::new(); 8]);
        assert!(client.logs("/t", ALL, &mut |_| Ok(())).is_err());
    }
}
