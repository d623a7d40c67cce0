//! Images in chunks: what is refused, and how. What is given is in the tests of the whole system, where objects are.

use axum::body::Body;
use axum::http::Request;

use crate::client::{Answer, Api};

async fn range(api: &Api, path: &str, range: Option<&str>) -> Answer {
    let mut request = Request::builder().uri(path).header("x-api-key", &api.key);
    if let Some(range) = range {
        request = request.header("range", range);
    }
    api.raw(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn without_objects_there_are_no_chunks_and_the_answer_says_so() {
    let api = Api::new();
    let template = api.create("env", "RUN say hello").await;
    let id = template["id"].as_str().unwrap();
    let manifest = api.get(&format!("/v1/templates/{id}/chunks")).await;
    assert!(manifest.text().contains("`objects`"), "{}", manifest.text());
    assert_eq!(manifest.fail(409), "not_in_chunks");
    let pack = range(&api, &format!("/v1/templates/{id}/chunks/{id}.1"), Some("bytes=0-99")).await;
    assert_eq!(pack.fail(409), "not_in_chunks");
}

#[tokio::test]
async fn what_is_no_request_for_chunks_is_refused() {
    let api = Api::new();
    let template = api.create("env", "RUN say hello").await;
    let pack = format!("/v1/templates/{}/chunks/a.1", template["id"].as_str().unwrap());
    assert_eq!(range(&api, &pack, None).await.fail(400), "range_required");
    for wrong in ["bytes=5-", "bytes=9-1", "bytes=0-1,5-6", "lines=0-1"] {
        assert_eq!(range(&api, &pack, Some(wrong)).await.fail(416), "invalid_range");
    }
    for path in ["/v1/templates/another/chunks", "/v1/templates/a%2Fb/chunks"] {
        assert_eq!(api.get(path).await.fail(404), "template_not_found");
    }
    let unknown = range(&api, "/v1/templates/another/chunks/a.1", Some("bytes=0-1")).await;
    assert_eq!(unknown.fail(404), "template_not_found");
    let without = Request::builder().uri("/v1/templates/env/chunks").body(Body::empty()).unwrap();
    assert_eq!(api.raw(without).await.status, 401);
}
