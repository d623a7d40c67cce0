//! Credentials from Docker's `config.json` and from the helpers that it names (docker-credential-helpers).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::options::Credentials;

/// Docker Hub under the name that Docker's config has for it.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";
/// The longest that a helper may take.
const HELPER_DEADLINE: Duration = Duration::from_secs(20);
/// Bytes of the config, and of what a helper says.
const BYTES_MAX: u64 = 1 << 20;
/// What a helper says when it has none.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The user that stands for "the secret is a token".
const TOKEN_USER: &str = "<token>";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize)]
struct Auth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Helped {
    username: String,
    secret: String,
}

/// What the config at `path` has for `host`, asked of a helper where it names one.
pub(super) fn of_docker_config(path: &Path, host: &str) -> Result<Option<Credentials>, String> {
    let place = path.display();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{place}: {error}")),
    };
    // What the file holds is in no message: it may be a secret.
    let config: Config = serde_json::from_reader(file.take(BYTES_MAX))
        .map_err(|error| format!("{place} is no Docker config (line {})", error.line()))?;
    let keys = if host == "docker.io" {
        vec![DOCKER_HUB.to_owned(), host.to_owned()]
    } else {
        vec![host.to_owned(), format!("https://{host}"), format!("http://{host}")]
    };
    for key in &keys {
        if let Some(helper) = config.cred_helpers.get(key).or(config.creds_store.as_ref())
            && let found @ Some(_) = ask_helper(helper, key)?
        {
            return Ok(found);
        }
        if let Some(auth) = config.auths.get(key) {
            let wrong = || format!("{place}: the entry '{key}' is no base64 of USER:PASSWORD; log in again");
            if let found @ Some(_) = of_auth(auth).ok_or_else(wrong)? {
                return Ok(found);
            }
        }
    }
    Ok(None)
}

/// `None` for what is malformed.
fn of_auth(auth: &Auth) -> Option<Option<Credentials>> {
    let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    if let Some(token) = filled(&auth.identitytoken) {
        return Some(Some(Credentials::Identity(token)));
    }
    if let Some(auth) = filled(&auth.auth) {
        let text = String::from_utf8(STANDARD.decode(auth).ok()?).ok()?;
        let (user, password) = text.split_once(':')?;
        return Some(Some(Credentials::Basic { user: user.to_owned(), password: password.to_owned() }));
    }
    Some(
        filled(&auth.username)
            .zip(filled(&auth.password))
            .map(|(user, password)| Credentials::Basic { user, password }),
    )
}

/// Runs `docker-credential-NAME get`, which reads the registry and answers with JSON.
fn ask_helper(name: &str, key: &str) -> Result<Option<Credentials>, String> {
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)) || name.is_empty() {
        return Err("the name of a credential helper has letters, digits, '-' and '_' alone".to_owned());
    }
    let program = format!("docker-credential-{name}");
    let failed = |why: &str| format!("the credential helper '{program}' for '{key}' {why}");
    let mut helper = Command::new(&program);
    helper.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut helper = helper.spawn().map_err(|error| failed(&format!("can't be run: {error}")))?;
    let mut input = helper.stdin.take().expect("it is piped");
    let output = helper.stdout.take().expect("it is piped");
    let reading = std::thread::spawn(move || {
        let mut said = Vec::new();
        output.take(BYTES_MAX).read_to_end(&mut said).map(|_| said)
    });
    // A helper that reads nothing is told by how it ends.
    let _ = input.write_all(key.as_bytes());
    drop(input);
    let start = Instant::now();
    let status = loop {
        match helper.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if start.elapsed() < HELPER_DEADLINE => std::thread::sleep(Duration::from_millis(10)),
            _ => {
                let _ = helper.kill().and_then(|()| helper.wait());
                return Err(failed(&format!("did not answer within {} s", HELPER_DEADLINE.as_secs())));
            }
        }
    };
    let said = reading.join().expect("reading does not panic").map_err(|error| failed(&error.to_string()))?;
    if !status.success() {
        let found_none = String::from_utf8_lossy(&said).trim() == NOT_FOUND;
        return if found_none { Ok(None) } else { Err(failed("failed; run it by hand to see why")) };
    }
    let Helped { username, secret } =
        serde_json::from_slice(&said).map_err(|_| failed("answered something that is no credentials"))?;
    Ok(Some(match username.as_str() {
        TOKEN_USER => Credentials::Identity(secret),
        _ => Credentials::Basic { user: username, password: secret },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn entries_of_every_form() {
        let basic = |user: &str, password: &str| {
            Ok(Some(Credentials::Basic { user: user.to_owned(), password: password.to_owned() }))
        };
        let file = config(
            r#"{"auths": {
                "https://index.docker.io/v1/": {"auth": "aHViOnBhOnNz"},
                "a.example:5000": {"username": "u", "password": "p"},
                "https://b.example": {"auth": "", "identitytoken": "t"},
                "c.example": {},
                "d.example": {"auth": "!!"},
                "e.example": {"auth": "bm9jb2xvbg=="}
            }, "HttpHeaders": {"x": "y"}}"#,
        );
        let of = |host| of_docker_config(file.path(), host);
        assert_eq!(of("docker.io"), basic("hub", "pa:ss"));
        assert_eq!(of("a.example:5000"), basic("u", "p"));
        assert_eq!(of("b.example"), Ok(Some(Credentials::Identity("t".to_owned()))));
        assert_eq!(of("c.example"), Ok(None));
        assert_eq!(of("a.example"), Ok(None));
        for host in ["d.example", "e.example"] {
            let message = of(host).unwrap_err();
            assert!(message.contains("log in again") && !message.contains("!!"), "{message}");
        }
        assert_eq!(of_docker_config(Path::new("/nowhere/config.json"), "x"), Ok(None));
        assert!(of_docker_config(config("{").path(), "x").unwrap_err().contains("is no Docker config"));
        let evil = config(r#"{"credsStore": "../../bin/sh"}"#);
        assert!(of_docker_config(evil.path(), "x").unwrap_err().contains("letters, digits"));
        let gone = config(r#"{"credHelpers": {"x": "not-installed-anywhere"}}"#);
        assert!(of_docker_config(gone.path(), "x").unwrap_err().contains("can't be run"));
    }

    #[test]
    fn secrets_are_not_shown() {
        let secret = Credentials::Basic { user: "u".to_owned(), password: "hunter2".to_owned() };
        assert_eq!(format!("{secret:?}"), "Credentials");
    }
}
