//! Logs as they grow, and the end of a server.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::client::Api;

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn submit(api: &Api, commands: &str) -> String {
    let dockerfile = crate::builder::submission("env", commands).dockerfile;
    let created = api.post("/v1/templates", json!({ "name": "env", "dockerfile": dockerfile })).await;
    created.data()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_log_so_far_and_from_a_place_on() {
    let api = Api::new();
    let id = submit(&api, "say 1;hang").await;
    let path = format!("/v1/templates/{id}/logs");
    let so_far = loop {
        let so_far = api.get(&format!("{path}?follow=false")).await.text();
        if so_far.contains("RUN hang") {
            break so_far;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(!so_far.contains("final"), "{so_far}");
    api.post(&format!("/v1/templates/{id}/cancel"), json!({})).await.data();
    let all = lines(&api.get(&path).await.text());
    let (end, all) = all.split_last().unwrap();
    assert_eq!(end["next"], all.len());
    assert_eq!(lines(&so_far), all[..lines(&so_far).len()]);
    let rest = lines(&api.get(&format!("{path}?since=3&follow=true")).await.text());
    assert_eq!(rest[..rest.len() - 1], all[3..]);
    assert_eq!(lines(&api.get(&format!("{path}?attempt=1&follow=false")).await.text()).len(), all.len() + 1);
    assert_eq!(api.get(&format!("{path}?attempt=2")).await.fail(404), "attempt_not_found");
    for query in ["attempt=0", "since=x", "follow=maybe"] {
        assert_eq!(api.get(&format!("{path}?{query}")).await.fail(400), "invalid_parameter", "{query}");
    }
}

/// A server on a port of its own.
struct Server {
    address: std::net::SocketAddr,
    metrics: std::net::SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    done: tokio::task::JoinHandle<()>,
}

async fn start(api: &Api, drain: Duration) -> Server {
    let any = || tokio::net::TcpListener::bind(("127.0.0.1", 0));
    let (api_listener, metrics_listener) = (any().await.unwrap(), any().await.unwrap());
    let address = api_listener.local_addr().unwrap();
    let metrics = metrics_listener.local_addr().unwrap();
    let listeners = server::Listeners { api: api_listener, metrics: Some(metrics_listener) };
    let (stop, stopped) = oneshot::channel::<()>();
    let app = server::App::new(api.templates.clone(), 1_000, 1_000);
    let done = tokio::spawn(server::serve(app, listeners, drain, async {
        drop(stopped.await);
    }));
    Server { address, metrics, stop: Some(stop), done }
}

async fn request(address: std::net::SocketAddr, path: &str, key: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    BufReader::new(stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_closes_tells_followers_where_to_go_on() {
    let api = Api::new();
    let mut server = start(&api, Duration::from_millis(100)).await;
    let id = submit(&api, "say 1;hang").await;
    let mut follower = request(server.address, &format!("/v1/templates/{id}/logs"), &api.key).await;
    let mut line = String::new();
    while !line.contains("RUN hang") {
        line.clear();
        assert!(follower.read_line(&mut line).await.unwrap() > 0);
    }
    let mut metrics = String::new();
    request(server.metrics, "/metrics", "").await.read_to_string(&mut metrics).await.unwrap();
    assert!(metrics.contains("drydock_templates{state=\"building\"} 1"), "{metrics}");
    assert!(metrics.contains("drydock_connections 1"), "{metrics}");

    drop(server.stop.take());
    let mut rest = String::new();
    follower.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains(r#""final":false"#) && rest.contains(r#""reason":"server_restart""#), "{rest}");
    assert!(rest.contains("the build begins again"), "{rest}");
    tokio::time::timeout(Duration::from_secs(60), server.done).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
    let row = api.templates.get(&crate::builder::alice(), &id.parse().unwrap()).unwrap();
    assert_eq!(row.status.as_str(), "pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_followers_see_every_line() {
    let api = Api::new();
    let mut server = start(&api, Duration::from_secs(5)).await;
    let says: String = (0..200).map(|number| format!("say line {number};sleep 2;")).collect();
    let id = submit(&api, &says).await;
    let follow = || {
        let (address, path, key) = (server.address, format!("/v1/templates/{id}/logs"), api.key.clone());
        tokio::spawn(async move {
            let mut text = String::new();
            request(address, &path, &key).await.read_to_string(&mut text).await.unwrap();
            text.matches(r#""line":"line "#).count()
        })
    };
    let followers: Vec<_> = (0..500).map(|_| follow()).collect();
    for follower in followers {
        assert_eq!(follower.await.unwrap(), 200);
    }
    drop(server.stop.take());
    server.done.await.unwrap();
}
