//! What works: tags, digests, platforms, credentials, tokens, mirrors, TLS.

use std::io::Write;
use std::sync::Arc;

use ocilayers::{Credentials, Digest, Image, OpenOptions};

use crate::proxy::{Act, Proxy, Stream};
use crate::server::{PASSWORD, Server, filled, patient, pull, pull_as, two_platforms, whole};

fn password() -> Credentials {
    Credentials::Basic { user: PASSWORD.0.to_owned(), password: PASSWORD.1.to_owned() }
}

#[test]
fn by_tag_by_digest_and_by_platform() {
    let Some(server) = filled() else { return };
    let options = |platform: &str| OpenOptions {
        registry: patient(&server.host),
        platform: platform.parse().unwrap(),
        ..OpenOptions::default()
    };
    let by_tag = format!("docker://{}/a/b:1", server.host);
    let amd64 = pull_as(&by_tag, &options("linux/amd64")).unwrap();
    let arm64 = pull_as(&by_tag, &options("linux/arm64/v8")).unwrap();
    assert!(amd64.starts_with("amd64 ") && arm64.starts_with("arm64 "));
    for text in [&amd64, &arm64] {
        assert!(text.contains("etc/which") && text.lines().count() == 4, "{text}");
    }
    let image = Image::open_with(&by_tag.parse().unwrap(), &options("linux/arm64")).unwrap();
    let by_digest = format!("docker://{}/a/b@{}", server.host, image.manifest_digest().unwrap());
    // A digest is of one image, whatever platform is wanted.
    assert_eq!(pull_as(&by_digest, &options("linux/amd64")).unwrap(), arm64);

    let error = pull_as(&by_tag, &options("linux/riscv64")).unwrap_err().to_string();
    assert_eq!(error, "there is no image for linux/riscv64; there are: no tag (linux/amd64), no tag (linux/arm64)");
    let gone = format!("docker://{}/a/b:gone", server.host);
    let error = whole(&pull_as(&gone, &options("linux/amd64")).unwrap_err());
    assert!(
        error.starts_with(&format!("manifests/gone of {}/a/b: it does not exist there (404", server.host)),
        "{error}"
    );
    let digest = Digest::of(b"nothing");
    let gone = format!("docker://{}/a/b@{digest}", server.host);
    assert!(whole(&pull_as(&gone, &options("linux/amd64")).unwrap_err()).contains("it does not exist there"));
}

#[test]
fn users_and_passwords() {
    let Some(server) = Server::with_password() else { return };
    let dir = tempfile::tempdir().unwrap();
    two_platforms(dir.path());
    server.push(dir.path(), "1");

    let error = pull(&server.host, patient(&server.host)).unwrap_err();
    assert!(error.contains("needs a user and a password") && error.contains("docker login"), "{error}");
    let mut registry = patient(&server.host);
    registry.credentials.insert(server.host.clone(), password());
    assert!(pull(&server.host, registry.clone()).is_ok());
    let wrong = Credentials::Basic { user: PASSWORD.0.to_owned(), password: "s3cret".to_owned() };
    registry.credentials.insert(server.host.clone(), wrong);
    let error = pull(&server.host, registry.clone()).unwrap_err();
    assert!(error.contains("are not accepted") && !error.contains("s3cret"), "{error}");
    assert!(!format!("{registry:?}").contains("s3cret"));

    // Y2FwdGFpbjpodW50ZXIy is captain:hunter2.
    let mut config = tempfile::NamedTempFile::new().unwrap();
    write!(config, r#"{{"auths": {{"{}": {{"auth": "Y2FwdGFpbjpodW50ZXIy"}}}}}}"#, server.host).unwrap();
    let mut registry = patient(&server.host);
    registry.docker_config = Some(config.path().to_owned());
    assert!(pull(&server.host, registry).is_ok());
}

#[test]
fn tokens_are_fetched_with_credentials_and_again_when_they_end() {
    let Some(server) = filled() else { return };
    // The first token is good for three requests; then it has ended.
    let proxy = Proxy::start(&server.host, |seen, before| {
        if seen.path.starts_with("/token?") {
            let token = format!(r#"{{"token":"t{before}","expires_in":60}}"#);
            return Act::Answer(format!("200 OK\r\nContent-Length: {}", token.len()), token.into_bytes());
        }
        let good = match seen.header("authorization") {
            Some("Bearer t0") => !seen.is_layer(),
            Some("Bearer t1") => true,
            _ => false,
        };
        let host = seen.header("host").unwrap();
        let challenge = format!(r#"Bearer realm="http://{host}/token",service="here",scope="repository:a/b:pull""#);
        if good { Act::Forward } else { Act::status(&format!("401 Unauthorized\r\nWWW-Authenticate: {challenge}")) }
    });
    let mut registry = patient(&proxy.host);
    registry.credentials.insert(proxy.host.clone(), password());
    pull(&proxy.host, registry.clone()).unwrap();
    let asked: Vec<_> = proxy.seen().into_iter().filter(|seen| seen.path.starts_with("/token")).collect();
    assert_eq!(asked.len(), 2);
    for seen in asked {
        assert_eq!(seen.path, "/token?scope=repository%3Aa%2Fb%3Apull&service=here");
        assert_eq!(seen.header("authorization"), Some("Basic Y2FwdGFpbjpodW50ZXIy"));
    }
}

#[test]
fn an_identity_token_is_exchanged_by_post() {
    let Some(server) = filled() else { return };
    let proxy = Proxy::start(&server.host, |seen, _| {
        if seen.path == "/token" {
            let fields =
                "scope=repository%3Aa%2Fb%3Apull&grant_type=refresh_token&client_id=drydock&refresh_token=id%2F1";
            let token = if seen.body == fields { r#"{"access_token":"good"}"# } else { "{}" };
            return Act::Answer(format!("200 OK\r\nContent-Length: {}", token.len()), token.into());
        }
        let host = seen.header("host").unwrap();
        match seen.header("authorization") {
            Some("Bearer good") => Act::Forward,
            _ => Act::status(&format!("401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"http://{host}/token\"")),
        }
    });
    let mut registry = patient(&proxy.host);
    registry.credentials.insert(proxy.host.clone(), Credentials::Identity("id/1".to_owned()));
    pull(&proxy.host, registry.clone()).unwrap();
    registry.credentials.insert(proxy.host.clone(), Credentials::Identity("bad".to_owned()));
    let error = pull(&proxy.host, registry).unwrap_err();
    assert!(error.contains("answers without a token"), "{error}");
}

#[test]
fn mirrors_are_asked_in_order_and_alone_when_that_is_wanted() {
    let Some(server) = filled() else { return };
    let (empty, mirror) =
        (Proxy::start("", |_, _| Act::status("404 Not Found")), Proxy::start(&server.host, |_, _| Act::Forward));
    let origin = Proxy::start(&server.host, |_, _| Act::Forward);
    let mut registry = patient(&origin.host);
    registry.insecure.extend([empty.host.clone(), mirror.host.clone()]);
    let url = |proxy: &Proxy| format!("http://{}", proxy.host);
    registry.mirrors.insert(origin.host.clone(), vec![url(&empty), url(&mirror)]);
    pull(&origin.host, registry.clone()).unwrap();
    assert_eq!(
        (empty.seen().len(), origin.seen().len()),
        (1, 0),
        "the mirror that answered is asked first from then on"
    );
    assert!(mirror.seen().len() >= 4);

    registry.mirrors.insert(origin.host.clone(), vec![url(&empty)]);
    pull(&origin.host, registry.clone()).unwrap();
    assert!(!origin.seen().is_empty(), "the registry is asked last");
    let asked = origin.seen().len();
    registry.mirrors_only = true;
    let error = pull(&origin.host, registry.clone()).unwrap_err();
    assert!(error.contains(&empty.host) && error.contains("404"), "{error}");
    assert_eq!(origin.seen().len(), asked);

    registry.mirrors.insert(origin.host.clone(), vec!["http://mirror.example".to_owned()]);
    let error = pull(&origin.host, registry).unwrap_err();
    assert!(error.contains("is without TLS; name 'mirror.example' as insecure"), "{error}");
}

/// A proxy with a certificate of its own authority, and that authority as a PEM file.
fn with_tls(server: &Server) -> (Proxy, tempfile::NamedTempFile) {
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let mut authority = tempfile::NamedTempFile::new().unwrap();
    authority.write_all(certified.cert.pem().as_bytes()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![certified.cert.der().clone()], key).unwrap());
    let wrap = move |stream: std::net::TcpStream| {
        let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        let stream: Box<dyn Stream> = Box::new(rustls::StreamOwned::new(connection, stream));
        Some(stream)
    };
    (Proxy::start_on(&server.host, |_, _| Act::Forward, wrap), authority)
}

#[test]
fn tls_is_the_default_and_the_authority_must_be_known() {
    let Some(server) = filled() else { return };
    let (proxy, authority) = with_tls(&server);
    let mut registry = patient("none");
    let error = pull(&proxy.host, registry.clone()).unwrap_err();
    assert!(error.contains("is not trusted") && error.contains("CA file"), "{error}");
    registry.ca_file = Some(authority.path().to_owned());
    pull(&proxy.host, registry.clone()).unwrap();

    let error = pull(&server.host, registry.clone()).unwrap_err();
    assert!(error.contains("name it as insecure to allow that"), "{error}");
    registry.ca_file = Some("/nowhere.pem".into());
    assert!(pull(&proxy.host, registry).unwrap_err().contains("the certificates in '/nowhere.pem' can't be read"));
}
