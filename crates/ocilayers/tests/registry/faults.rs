//! What goes wrong on the way: each fault is got over, or is an error that says what happened, in bounded time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ocilayers::{Credentials, Error, OpenOptions, RegistryOptions};

use crate::proxy::{Act, Proxy, Seen};
use crate::server::{amd64, filled, patient, pull, pull_as};

/// The pull through a proxy that does `act` to what is asked for as a blob.
fn through(act: impl Fn(&Seen, usize) -> Act + Send + Sync + 'static) -> Option<(Result<String, String>, Proxy)> {
    let server = filled()?;
    let act = move |seen: &Seen, before: usize| if seen.is_layer() { act(seen, before) } else { Act::Forward };
    let proxy = Proxy::start(&server.host, act);
    Some((pull(&proxy.host, patient(&proxy.host)), proxy))
}

#[test]
fn a_cut_download_is_resumed_where_it_broke_off() {
    let Some((result, proxy)) = through(|_, before| if before < 2 { Act::Cut(1_200_000) } else { Act::Forward }) else {
        return;
    };
    assert!(result.unwrap().contains("etc/which"));
    let ranges: Vec<_> = proxy.seen().iter().filter_map(|seen| seen.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges, ["bytes=1200000-", "bytes=2400000-"]);
}

#[test]
fn a_download_that_never_gets_on_ends() {
    let Some((result, proxy)) = through(|_, _| Act::Cut(0)) else { return };
    let error = result.unwrap_err();
    assert!(error.contains("broke off 3 times, the last time at byte 0 of"), "{error}");
    assert!(proxy.seen().len() < 12);
}

#[test]
fn a_manifest_that_breaks_off_is_asked_for_again() {
    let Some(server) = filled() else { return };
    let is_top = |seen: &Seen| seen.path.ends_with("/manifests/1");
    let twice = Proxy::start(&server.host, move |seen, before| match before {
        0 | 1 if is_top(seen) => Act::Cut(100),
        _ => Act::Forward,
    });
    assert!(pull(&twice.host, patient(&twice.host)).unwrap().contains("etc/which"));
    assert_eq!(twice.seen().iter().filter(|seen| is_top(seen)).count(), 3);

    let always = Proxy::start(&server.host, move |seen, _| if is_top(seen) { Act::Cut(100) } else { Act::Forward });
    let error = pull(&always.host, patient(&always.host)).unwrap_err();
    assert!(error.contains("manifests/1 of") && error.contains("broke off 3 times"), "{error}");
}

#[test]
fn a_registry_without_ranges_begins_anew() {
    let plain = |_: &Seen, before: usize| if before == 0 { Act::Cut(1_000_000) } else { Act::WithoutRange };
    let Some((result, proxy)) = through(plain) else { return };
    assert!(result.unwrap().contains("etc/which"));
    assert!(proxy.seen().iter().any(|seen| seen.header("range") == Some("bytes=1000000-")));
    // What was there before breaks off, too.
    let again = |_: &Seen, before: usize| match before {
        0 => Act::Cut(1_000_000),
        1 => Act::Answer("200 OK\r\nTransfer-Encoding: chunked".into(), b"no number\r\n".to_vec()),
        _ => Act::Forward,
    };
    let Some((result, _)) = through(again) else { return };
    assert!(result.is_ok(), "{result:?}");
    let Some((result, _)) = through(|_, before| match before {
        0 => Act::Cut(1_000_000),
        _ => Act::Answer("206 Partial Content\r\nContent-Range: bytes 5-9/10\r\nContent-Length: 5".into(), vec![0; 5]),
    }) else {
        return;
    };
    let error = result.unwrap_err();
    assert!(error.contains("resumed with 'bytes 5-9/10'"), "{error}");
}

#[test]
fn a_busy_registry_is_asked_again_after_the_time_it_says() {
    let start = Instant::now();
    let busy = |_: &Seen, before: usize| match before {
        0 => Act::status("429 Too Many Requests\r\nRetry-After: 1"),
        1 => Act::status("503 Service Unavailable"),
        _ => Act::Forward,
    };
    let Some((result, _)) = through(busy) else { return };
    assert!(result.is_ok());
    assert!(start.elapsed() > Duration::from_secs(1), "the time that it said is waited");

    let Some((result, proxy)) = through(|_, _| Act::status("429 Too Many Requests\r\nRetry-After: 3600")) else {
        return;
    };
    let error = result.unwrap_err();
    assert!(error.contains("asks to wait for 3600 s, more than the 60 s"), "{error}");
    assert_eq!(proxy.seen().iter().filter(|seen| seen.is_layer()).count(), 1);

    let body = br#"{"errors":[{"message":"the disk is gone"}]}"#;
    let broken = |_: &Seen, _: usize| {
        Act::Answer(format!("500 Internal Server Error\r\nContent-Length: {}", body.len()), body.to_vec())
    };
    let Some((result, _)) = through(broken) else { return };
    let error = result.unwrap_err();
    assert!(error.contains("500") && error.contains("the disk is gone") && error.contains("3 times"), "{error}");
}

#[test]
fn wrong_bytes_are_refused_and_not_asked_for_again() {
    let Some((result, proxy)) = through(|_, _| Act::Flip) else { return };
    let error = result.unwrap_err();
    assert!(error.contains("does not match") && error.contains("tampered with"), "{error}");
    assert_eq!(proxy.seen().iter().filter(|seen| seen.is_layer()).count(), 1);
    let short = |_: &Seen, _: usize| Act::Answer("200 OK\r\nContent-Length: 5".into(), b"short".to_vec());
    let Some((result, _)) = through(short) else { return };
    assert!(result.unwrap_err().contains("5 bytes is there"));

    let Some(server) = filled() else { return };
    let other = "Docker-Content-Digest: sha256:0000000000000000000000000000000000000000000000000000000000000000";
    let lies =
        Proxy::start("", move |_, _| Act::Answer(format!("200 OK\r\n{other}\r\nContent-Length: 2"), b"{}".to_vec()));
    let error = pull(&lies.host, patient(&lies.host)).unwrap_err();
    assert!(error.contains("the digest of the manifest of") && error.contains("does not match"), "{error}");
    drop(server);
}

#[test]
fn a_stall_ends_and_the_download_goes_on() {
    let Some((result, _)) = through(|_, before| if before == 0 { Act::Stall(5_000) } else { Act::Forward }) else {
        return;
    };
    assert!(result.is_ok(), "{result:?}");
    let start = Instant::now();
    let Some((result, _)) = through(|_, _| Act::Stall(0)) else { return };
    let error = result.unwrap_err();
    assert!(error.contains("nothing came for 2 s"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_redirect_takes_no_credentials_to_another_host() {
    let Some(server) = filled() else { return };
    let store = Proxy::start(&server.host, |_, _| Act::Forward);
    let elsewhere = store.host.clone();
    let proxy = Proxy::start(&server.host, move |seen, _| match seen.header("authorization") {
        None => Act::status("401 Unauthorized\r\nWWW-Authenticate: Basic"),
        Some(_) if seen.is_layer() => Act::redirect(&format!("http://{elsewhere}{}", seen.path)),
        Some(_) => Act::Forward,
    });
    let mut registry = patient(&proxy.host);
    registry.insecure.push(store.host.clone());
    let own = Credentials::Basic { user: "u".to_owned(), password: "p".to_owned() };
    registry.credentials.insert(proxy.host.clone(), own);
    pull(&proxy.host, registry.clone()).unwrap();
    assert!(store.seen().len() >= 2);
    for seen in store.seen() {
        assert_eq!(seen.header("authorization"), None, "{}", seen.path);
    }
    assert!(proxy.seen().iter().filter(|seen| seen.is_layer()).all(|seen| seen.header("authorization").is_some()));

    // Nor to a realm that the other host names.
    let realm = Proxy::start("", |_, _| Act::status("200 OK"));
    let (asks, name) = (realm.host.clone(), proxy.host.clone());
    let greedy = Proxy::start("", move |_, _| {
        Act::status(&format!("401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"http://{asks}/token\""))
    });
    let elsewhere = greedy.host.clone();
    let lured = Proxy::start(&server.host, move |seen, _| match seen.is_layer() {
        true => Act::redirect(&format!("http://{elsewhere}{}", seen.path)),
        false => Act::Forward,
    });
    let mut lured_registry = patient(&lured.host);
    lured_registry.insecure.extend([greedy.host.clone(), realm.host.clone()]);
    lured_registry.credentials.insert(lured.host.clone(), registry.credentials[&name].clone());
    let error = pull(&lured.host, lured_registry).unwrap_err();
    assert!(error.contains("the host that it redirects to wants credentials"), "{error}");
    assert!(realm.seen().is_empty(), "the realm of another host was asked");

    registry.insecure.pop();
    let error = pull(&proxy.host, registry).unwrap_err();
    assert!(error.contains("redirects to") && error.contains("without TLS"), "{error}");
}

#[test]
fn redirects_and_answers_without_end_are_refused() {
    let Some((result, proxy)) = through(|seen, _| Act::redirect(&seen.path)) else { return };
    assert!(result.unwrap_err().contains("more than 5 redirects"));
    assert!(proxy.seen().len() < 20);
    for to in ["ftp://x/y", "file:///etc/passwd", "http://[", ""] {
        let Some((result, _)) = through(move |_, _| Act::redirect(to)) else { return };
        assert!(result.unwrap_err().contains("redirects"), "{to}");
    }
    let endless = Proxy::start("", |_, _| Act::Endless);
    let error = pull(&endless.host, patient(&endless.host)).unwrap_err();
    assert!(error.contains("the size of the manifest") && error.contains("4194304"), "{error}");
    let many = (0..200).map(|n| format!("\r\nX-{n}: y")).collect::<String>();
    let headers = Proxy::start("", move |_, _| Act::status(&format!("200 OK{many}")));
    assert!(pull(&headers.host, patient(&headers.host)).is_err());
    let nothing = Proxy::start("", |_, _| Act::Answer("banana".into(), vec![]));
    assert!(pull(&nothing.host, patient(&nothing.host)).is_err());
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let error = pull(&nobody, patient(&nobody)).unwrap_err();
    assert!(error.contains("can't be reached") && error.contains("refused"), "{error}");
}

#[test]
fn a_download_can_be_cancelled_while_it_waits() {
    let Some(server) = filled() else { return };
    let proxy = Proxy::start(&server.host, |seen, _| match seen.is_layer() {
        true => Act::status("503 Busy\r\nRetry-After: 50"),
        false => Act::Forward,
    });
    let mut registry = patient(&proxy.host);
    let cancel = Arc::new(AtomicBool::new(false));
    registry.cancel = Some(Arc::clone(&cancel));
    let start = Instant::now();
    let stop = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        cancel.store(true, Ordering::Relaxed);
    });
    let error = pull(&proxy.host, registry).unwrap_err();
    stop.join().unwrap();
    assert!(error.contains("cancelled"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn what_stops_a_download_is_not_the_layer_s_fault() {
    let Some(server) = filled() else { return };
    let error = |proxy: &Proxy, registry: RegistryOptions| {
        pull_as(&format!("docker://{}/a/b:1", proxy.host), &OpenOptions { registry, ..amd64() }).unwrap_err()
    };
    // The config comes whole, and of the layer what is little for one.
    let cut = Proxy::start(&server.host, |seen, _| if seen.is_layer() { Act::Cut(10_000) } else { Act::Forward });
    let found = error(&cut, patient(&cut.host));
    let of_host = format!(" of {}/a/b", cut.host);
    assert!(matches!(&found, Error::Registry { place, .. } if place.ends_with(&of_host)), "{found}");

    let gone = Proxy::start(&server.host, |seen, before| match (seen.is_layer(), before) {
        (true, 0) => Act::Cut(10_000),
        (true, _) => Act::status("404 Not Found"),
        _ => Act::Forward,
    });
    let found = error(&gone, patient(&gone.host));
    assert!(matches!(&found, Error::Registry { why, .. } if why.contains("does not exist")), "{found}");

    let slow = Proxy::start(&server.host, |seen, _| if seen.is_layer() { Act::Stall(10_000) } else { Act::Forward });
    let cancel = Arc::new(AtomicBool::new(false));
    let mut registry = patient(&slow.host);
    registry.cancel = Some(Arc::clone(&cancel));
    let stop = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        cancel.store(true, Ordering::Relaxed);
    });
    let found = error(&slow, registry);
    stop.join().unwrap();
    assert!(matches!(found, Error::Cancelled), "{found}");
}
