//! Whatever goes wrong, the answer is JSend with a request id.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::json;

use crate::client::Api;

#[tokio::test]
async fn keys() {
    let api = Api::new();
    let with = |key: Option<String>| {
        let mut request = Request::get("/v1/templates");
        if let Some(key) = key {
            request = request.header("x-api-key", key);
        }
        api.raw(request.body(Body::empty()).unwrap())
    };
    assert_eq!(with(None).await.fail(401), "unauthorized");
    assert_eq!(with(Some("x".to_owned())).await.fail(401), "unauthorized");
    assert_eq!(with(Some(templates::ApiKey::generate().reveal())).await.fail(401), "unauthorized");
    let mut wrong = api.key.clone();
    wrong.replace_range(wrong.len() - 1.., if wrong.ends_with('0') { "1" } else { "0" });
    assert_eq!(with(Some(wrong)).await.fail(401), "unauthorized");
    with(Some(api.key.clone())).await.data();
    let bob = api.templates.create_key(&"bob".parse().unwrap()).unwrap().reveal();
    let id = api.create("env", "").await["id"].as_str().unwrap().to_owned();
    for path in [format!("/v1/templates/{id}"), "/v1/templates/env".to_owned(), format!("/v1/templates/{id}/logs")] {
        let request = Request::get(&path).header("x-api-key", &bob).body(Body::empty()).unwrap();
        assert_eq!(api.raw(request).await.fail(404), "template_not_found", "no word of what others have");
    }
    // Nothing that is not a key is looked at before the key is.
    let body = Request::post("/v1/templates").body(Body::from("{")).unwrap();
    assert_eq!(api.raw(body).await.fail(401), "unauthorized");
}

#[tokio::test]
async fn what_is_no_request() {
    let api = Api::new();
    assert_eq!(api.get("/nowhere").await.fail(404), "not_found");
    let answer = api.send(Method::PUT, "/v1/templates", None).await;
    assert_eq!(answer.fail(405), "method_not_allowed");
    assert!(answer.headers["allow"].to_str().unwrap().contains("POST"));
    let post = |kind: &'static str, body: String| {
        let request = Request::post("/v1/templates").header("x-api-key", &api.key).header("content-type", kind);
        api.raw(request.body(Body::from(body)).unwrap())
    };
    assert_eq!(post("text/plain", "{}".to_owned()).await.fail(415), "unsupported_media_type");
    for body in ["", "{", "[]", "{}", "null", r#"{"name":1,"dockerfile":""}"#, r#"{"name":"a"}"#, "\u{0}"] {
        assert_eq!(post("application/json", body.to_owned()).await.fail(400), "invalid_json", "{body}");
    }
    let large = json!({ "name": "a", "dockerfile": "x".repeat(2 << 20) }).to_string();
    assert_eq!(post("application/json", large).await.fail(413), "body_too_large");
    for id in ["tpl_01", "UPPER", "a@0", "a%00b", "%ff", &"x".repeat(100), "tpl_01ARZ3NDEKTSV4RRFFQ69G5FAV"] {
        let answer = api.get(&format!("/v1/templates/{id}")).await;
        assert!([404, 400].contains(&answer.status.as_u16()), "{id}");
        assert_eq!(answer.json()["status"], "fail", "{id}");
    }
}

#[tokio::test]
async fn too_many_requests() {
    let api = Api::limited(1, 3);
    for _ in 0..3 {
        api.get("/v1/templates").await.data();
    }
    let answer = api.get("/v1/templates").await;
    assert_eq!(answer.fail(429), "rate_limited");
    assert!(answer.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    let bob = api.templates.create_key(&"bob".parse().unwrap()).unwrap().reveal();
    let request = Request::get("/v1/templates").header("x-api-key", &bob).body(Body::empty()).unwrap();
    api.raw(request).await.data();
}

#[tokio::test]
async fn ids_of_requests() {
    let api = Api::new();
    let with = |id: &str| {
        let request = Request::get("/healthz").header("x-request-id", id).body(Body::empty()).unwrap();
        api.raw(request)
    };
    assert_eq!(with("abc-1.2_3").await.headers["x-request-id"], "abc-1.2_3");
    assert_eq!(with("a b").await.headers["x-request-id"].len(), 26, "what could break a log is not taken over");
    assert_eq!(with(&"x".repeat(65)).await.headers["x-request-id"].len(), 26);
}

#[tokio::test]
async fn health_and_faults() {
    let api = Api::new();
    assert_eq!(api.get("/healthz").await.data(), json!({ "up": true }));
    assert_eq!(api.get("/readyz").await.data()["ready"], true);
    let document: serde_json::Value = api.get("/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    // The data is gone: what is answered says so, and says nothing of where it was.
    std::fs::remove_dir_all(api.dir.path()).unwrap();
    let answer = api.get("/readyz").await;
    let json = answer.json();
    assert_eq!((answer.status.as_u16(), &json["status"]), (503, &"error".into()));
    assert_eq!(json["data"]["ready"], false);
    assert_eq!(json["data"]["request_id"], answer.headers["x-request-id"].to_str().unwrap());
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let api = Api::new();
    let page = api.get("/").await;
    assert!(page.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    for path in ["/page.js", "/page.css"] {
        assert!(page.text().contains(path), "{path}");
        assert_eq!(api.get(path).await.status.as_u16(), 200);
    }
    assert!(!page.text().contains("http://") && !page.text().contains("https://"));
    assert!(!page.text().contains("<script>") && !page.text().contains(" style="));
}

#[tokio::test]
async fn a_panic_is_an_error_like_any_other() {
    let api = Api::new();
    let body = json!({ "name": "env", "dockerfile": "FROM nodeops/sandbox:debian\nRUN panic at once\n" });
    let answer = api.post("/v1/templates", body).await;
    let json = answer.json();
    assert_eq!((answer.status.as_u16(), &json["status"]), (500, &"error".into()));
    assert_eq!(json["data"]["request_id"], answer.headers["x-request-id"].to_str().unwrap());
    assert!(!answer.text().contains("Dockerfile says"), "what happened inside is not told");
    api.create("env", "").await;
}
