//! Sends requests to the API without a network, and holds the answers against the document.

use std::path::PathBuf;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use templates::Templates;
use tower::ServiceExt;

use crate::builder::{Scripted, alice, service};

pub(crate) struct Api {
    pub(crate) router: Router,
    pub(crate) templates: Templates,
    pub(crate) builder: Scripted,
    pub(crate) key: String,
    pub(crate) dir: tempfile::TempDir,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// `data` of a success.
    pub(crate) fn data(&self) -> Value {
        let json = self.json();
        assert_eq!((self.status, &json["status"]), (StatusCode::OK, &"success".into()), "{json}");
        json["data"].clone()
    }

    /// The code of a `fail` with that status.
    pub(crate) fn fail(&self, status: u16) -> String {
        let json = self.json();
        assert_eq!((self.status.as_u16(), &json["status"]), (status, &"fail".into()), "{json}");
        assert!(json["data"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{json}");
        json["data"]["code"].as_str().unwrap().to_owned()
    }
}

impl Api {
    pub(crate) fn new() -> Self {
        Self::limited(1_000_000, 1_000_000)
    }

    pub(crate) fn limited(per_second: u32, burst: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (templates, builder) = service(dir.path());
        let key = templates.create_key(&alice()).unwrap().reveal();
        let router = server::router(server::App::new(templates.clone(), per_second, burst));
        Self { router, templates, builder, key, dir }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None).await
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("x-api-key", &self.key);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map_or(Body::empty(), |body| Body::from(body.to_string()));
        self.raw(request.body(body).unwrap()).await
    }

    pub(crate) async fn raw(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes().to_vec();
        let answer = Answer { status: head.status, headers: head.headers, bytes };
        assert!(answer.headers.contains_key("x-request-id"));
        validate(&method, &path, &answer);
        answer
    }

    /// A template that was created and has ended.
    pub(crate) async fn create(&self, name: &str, commands: &str) -> Value {
        let submission = crate::builder::submission(name, commands);
        let created =
            self.post("/v1/templates", json!({ "name": name, "dockerfile": submission.dockerfile })).await.data();
        let id = created["id"].as_str().unwrap();
        let log = self.get(&format!("/v1/templates/{id}/logs")).await;
        assert!(log.text().contains("\"final\":true"), "{}", log.text());
        self.get(&format!("/v1/templates/{id}")).await.data()
    }
}

/// Holds an answer against what the document says of its operation and status.
fn validate(method: &Method, path: &str, answer: &Answer) {
    let document = serde_json::to_value(server::document()).unwrap();
    let matches = |pattern: &str| {
        let [pattern, path]: [Vec<&str>; 2] = [pattern, path].map(|path| path.split('/').collect());
        pattern.len() == path.len()
            && pattern.iter().zip(path).all(|(part, given)| part.starts_with('{') || *part == given)
    };
    let paths = document["paths"].as_object().unwrap();
    let Some((_, operations)) = paths.iter().find(|(pattern, _)| matches(pattern)) else { return };
    let operation = &operations[method.as_str().to_lowercase()];
    if operation.is_null() {
        return;
    }
    let response = &operation["responses"][answer.status.as_str()];
    assert!(!response.is_null(), "{method} {path}: {} is not in the document", answer.status);
    let (kind, media) = response["content"].as_object().unwrap().iter().next().unwrap();
    assert_eq!(answer.headers[header::CONTENT_TYPE], kind.as_str(), "{method} {path}");
    if kind == "application/json" {
        let mut schema = media["schema"].clone();
        schema["components"] = document["components"].clone();
        let errors: Vec<String> = jsonschema::validator_for(&schema)
            .unwrap()
            .iter_errors(&answer.json())
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{method} {path} {}: {errors:?}\n{}", answer.status, answer.text());
    }
}

#[test]
fn the_document_is_the_one_that_is_checked_in() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let made = serde_json::to_string_pretty(&server::document()).unwrap() + "\n";
    if std::env::var_os("DRYDOCK_BLESS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(kept == made, "docs/openapi.json is not what the code says; run this test with DRYDOCK_BLESS=1");
}
