//! Every endpoint, field, default and limit of the specification.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::client::Api;

#[tokio::test]
async fn a_template_from_submission_to_deletion() {
    let api = Api::new();
    let dockerfile = "FROM nodeops/sandbox:debian\nRUN say hello\n";
    let created = api.post("/v1/templates", json!({ "name": "my-python-env", "dockerfile": dockerfile })).await.data();
    let id = created["id"].as_str().unwrap().to_owned();
    assert!(id.len() == 30 && id.starts_with("tpl_01"), "{id}");
    for (field, value) in [
        ("name", json!("my-python-env")),
        ("base", json!("nodeops/sandbox:debian")),
        ("status", json!("pending")),
        ("ext4_size_bytes", json!(0)),
        ("built_at", Value::Null),
    ] {
        assert_eq!(created[field], value, "{field}");
    }
    assert!(created.as_object().unwrap().contains_key("built_at"), "null, not absent");

    let log = api.get(&format!("/v1/templates/{id}/logs")).await;
    assert_eq!(log.headers["content-type"], "application/x-ndjson");
    let lines: Vec<Value> = log.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["stream"], "Step 1/2 : FROM nodeops/sandbox:debian\n");
    let stream: String = lines.iter().map(|line| line["stream"].as_str().unwrap()).collect();
    assert!(stream.contains("Step 2/2 : RUN say hello\nhello\n"), "{stream}");
    let [.., last, end] = lines.as_slice() else { panic!("{stream}") };
    assert!(last["stream"].as_str().unwrap().starts_with("Successfully built "));
    assert_eq!((&end["final"], &end["status"], &end["stream"]), (&json!(true), &json!("ready"), &json!("")));

    let ready = api.get("/v1/templates/my-python-env").await.data();
    assert_eq!((&ready["id"], &ready["status"]), (&json!(id), &json!("ready")));
    assert_eq!(ready["ext4_size_bytes"], 512 << 20);
    assert_eq!(ready["built_at"].as_str().unwrap().len(), "2024-01-15T10:01:30Z".len());
    assert!(ready.get("dockerfile").is_none());
    let with = api.get(&format!("/v1/templates/{id}?include=dockerfile")).await.data();
    assert_eq!(with["dockerfile"], dockerfile);
    let resolved = api.get("/v1/templates/my-python-env@1/resolve").await.data();
    assert_eq!((&resolved["id"], &resolved["config"]["config"]["Env"][0]), (&json!(id), &json!("A=1")));
    assert_eq!(api.get("/v1/templates/my-python-env/config").await.data(), resolved);

    let listed = api.get("/v1/templates").await.data();
    assert_eq!(listed["templates"], json!([ready]));
    assert_eq!(listed["data"], listed["templates"]);
    assert_eq!(listed["pagination"], json!({ "total": 1, "limit": 50, "offset": 0, "count": 1 }));

    let gone = api.delete(&format!("/v1/templates/{id}")).await.data();
    assert_eq!(gone, json!({ "id": id, "status": "destroyed" }));
    for path in [
        format!("/v1/templates/{id}"),
        format!("/v1/templates/{id}/logs"),
        format!("/v1/templates/{id}/config"),
        "/v1/templates/my-python-env".to_owned(),
    ] {
        assert_eq!(api.get(&path).await.fail(404), "template_not_found");
    }
    assert_eq!(api.delete(&format!("/v1/templates/{id}")).await.fail(404), "template_not_found");
    assert_eq!(api.get("/v1/templates").await.data()["templates"], json!([]));
}

#[tokio::test]
async fn restrictions_of_dockerfiles() {
    let api = Api::new();
    let refused = [
        ("FROM nodeops/sandbox:debian\nFROM nodeops/sandbox:debian\n", 2),
        ("FROM ubuntu\n", 1),
        ("FROM nodeops/sandbox:debian\nCOPY a /b\n", 2),
        ("FROM nodeops/sandbox:debian\nADD a /b\n", 2),
        ("ARG BASE\nFROM ${BASE}\n", 2),
    ];
    for (dockerfile, line) in refused {
        let answer = api.post("/v1/templates", json!({ "name": "env", "dockerfile": dockerfile })).await;
        let code = answer.fail(400);
        let data = &answer.json()["data"];
        assert_eq!(data["line"], line, "{data}");
        assert!(data["column"].is_u64() && data["message"].as_str().unwrap().contains("line "), "{data}");
        assert_eq!(answer.json()["diagnostics"][0]["code"], code, "{dockerfile}");
        assert!(
            data.as_object().unwrap().values().all(|value| !value.is_object() && !value.is_array()),
            "flat: {data}"
        );
    }
    let large = format!("FROM nodeops/sandbox:debian\n#{}\n", "x".repeat(64 << 10));
    let answer = api.post("/v1/templates", json!({ "name": "env", "dockerfile": large })).await;
    assert_eq!(answer.fail(400), "dockerfile-too-large");
    let exact = format!("FROM nodeops/sandbox:debian\n#{}\n", "x".repeat((64 << 10) - 30));
    assert_eq!(exact.len(), 64 << 10);
    api.post("/v1/templates", json!({ "name": "env", "dockerfile": exact })).await.data();

    let several = "FROM ubuntu\nCOPY a b\nRUN --mount=type=secret,id=x true\n";
    let answer = api.post("/v1/templates", json!({ "name": "env", "dockerfile": several })).await;
    answer.fail(400);
    let lines: Vec<u64> =
        answer.json()["diagnostics"].as_array().unwrap().iter().map(|one| one["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [1, 2, 3]);
    assert!(answer.json()["data"]["message"].as_str().unwrap().ends_with("(and 2 more problems)"));
}

#[tokio::test]
async fn names() {
    let api = Api::new();
    for name in ["", "A", "a_b", "a.b", "ä", "a/b", &"x".repeat(64)] {
        let answer =
            api.post("/v1/templates", json!({ "name": name, "dockerfile": "FROM nodeops/sandbox:debian" })).await;
        assert_eq!(answer.fail(400), "invalid_name", "{name}");
        assert_eq!(answer.json()["data"]["field"], "name");
    }
    let longest = "x".repeat(63);
    api.post("/v1/templates", json!({ "name": longest, "dockerfile": "FROM nodeops/sandbox:debian" })).await.data();
}

#[tokio::test]
async fn the_build_limit_and_cancelling() {
    let api = Api::new();
    let slow = || json!({ "name": "env", "dockerfile": "FROM nodeops/sandbox:debian\nRUN hang\n" });
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(api.post("/v1/templates", slow()).await.data()["id"].as_str().unwrap().to_owned());
    }
    let answer = api.post("/v1/templates", slow()).await;
    assert_eq!(answer.fail(429), "concurrent_build_limit");
    assert!(answer.headers.contains_key("retry-after"));
    let data = &answer.json()["data"];
    assert_eq!((&data["limit"], &data["active"]), (&json!(2), &json!(ids.join(", "))));
    for id in &ids {
        api.post(&format!("/v1/templates/{id}/cancel"), json!({})).await.data();
        let log = api.get(&format!("/v1/templates/{id}/logs")).await.text();
        assert!(log.ends_with("\n") && log.lines().last().unwrap().contains("\"code\":\"cancelled\""), "{log}");
        let failed = api.get(&format!("/v1/templates/{id}")).await.data();
        assert_eq!((&failed["status"], &failed["failure"]["code"]), (&json!("failed"), &json!("cancelled")));
        assert_eq!(api.post(&format!("/v1/templates/{id}/cancel"), json!({})).await.fail(409), "build_ended");
    }
    assert_eq!(api.get("/v1/templates/env").await.fail(404), "template_not_found", "a name is that of a ready one");
    api.post("/v1/templates", json!({ "name": "env", "dockerfile": "FROM nodeops/sandbox:debian\n" })).await.data();
}

#[tokio::test]
async fn pages_are_stable_and_bounded() {
    let api = Api::new();
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.insert(0, api.create("env", &format!("say {number}")).await["id"].clone());
    }
    let mut seen = Vec::new();
    for offset in [0, 2, 4, 6] {
        let page = api.get(&format!("/v1/templates?limit=2&offset={offset}")).await.data();
        assert_eq!((&page["pagination"]["total"], &page["pagination"]["limit"]), (&json!(5), &json!(2)));
        seen.extend(page["templates"].as_array().unwrap().iter().map(|template| template["id"].clone()));
    }
    assert_eq!(seen, ids);
    for query in ["limit=0", "limit=501", "limit=-1", "limit=x", "limit=", "limit=1.5", "offset=-1", "offset=x"] {
        assert_eq!(api.get(&format!("/v1/templates?{query}")).await.fail(400), "invalid_parameter", "{query}");
    }
    assert_eq!(api.get("/v1/templates?limit=500").await.data()["pagination"]["limit"], 500);
}

#[tokio::test]
async fn a_list_is_without_the_last_lines_of_builds() {
    let api = Api::new();
    let failed = api.create("env", "fail").await;
    assert_eq!(failed["failure"]["tail"], json!(["the last words"]));
    let listed = &api.get("/v1/templates").await.data()["templates"][0];
    assert_eq!((&listed["id"], &listed["failure"]["code"]), (&failed["id"], &json!("run_failed")));
    assert_eq!(listed["failure"].get("tail"), None);
}

#[tokio::test]
async fn the_same_key_makes_one_template() {
    let api = Api::new();
    let send = |key: &'static str, name: &'static str| {
        let body = json!({ "name": name, "dockerfile": "FROM nodeops/sandbox:debian\n" }).to_string();
        let request = Request::post("/v1/templates").header("x-api-key", &api.key).header("idempotency-key", key);
        api.raw(request.header("content-type", "application/json").body(Body::from(body)).unwrap())
    };
    let first = send("one", "env").await.data();
    let again = send("one", "env").await;
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!(again.data()["id"], first["id"]);
    assert_eq!(send("one", "other").await.fail(422), "idempotency_key_reused");
    assert_ne!(send("two", "env").await.data()["id"], first["id"]);
    assert_eq!(send("", "env").await.fail(400), "invalid_idempotency_key");
}

#[tokio::test]
async fn a_dry_run_stores_nothing() {
    let api = Api::new();
    let plan = json!({ "name": "env", "dockerfile": "FROM nodeops/sandbox:debian\nRUN say 1\n" });
    let plan = api.post("/v1/templates?dry_run=true", plan).await.data();
    assert_eq!(plan["base"], "nodeops/sandbox:debian");
    let wrong = json!({ "name": "env", "dockerfile": "FROM nodeops/sandbox:debian\nCOPY a b\n" });
    assert_eq!(api.post("/v1/templates?dry_run=true", wrong).await.json()["diagnostics"][0]["line"], 2);
    assert_eq!(api.get("/v1/templates").await.data()["pagination"]["total"], 0);
    let odd = json!({ "name": "env", "dockerfile": "" });
    assert_eq!(api.post("/v1/templates?dry_run=maybe", odd).await.fail(400), "invalid_parameter");
}

fn slow() -> Value {
    json!({ "name": "env", "dockerfile": "FROM nodeops/sandbox:debian\nRUN look slowly\n" })
}

#[tokio::test]
async fn a_few_dry_runs_at_one_time() {
    let api = Arc::new(Api::new());
    let ask = |api: Arc<Api>| async move { api.post("/v1/templates?dry_run=true", slow()).await.data() };
    let mut all = tokio::task::JoinSet::new();
    (0..20).for_each(|_| drop(all.spawn(ask(Arc::clone(&api)))));
    all.join_all().await;
    assert_eq!(api.builder.previews_most.load(Ordering::SeqCst), 8);
}

#[tokio::test]
async fn a_dry_run_that_takes_too_long_is_answered() {
    let api = Api::new();
    tokio::time::pause();
    let asked = api.post("/v1/templates?dry_run=true", slow());
    let clock = async {
        while api.builder.previews_most.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        tokio::time::advance(Duration::from_secs(26)).await;
    };
    let (answer, ()) = tokio::join!(asked, clock);
    assert_eq!((answer.status.as_u16(), &answer.json()["data"]["code"]), (503, &"base_unavailable".into()));
    assert!(answer.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn fields_beyond_the_specification() {
    let api = Api::new();
    let dockerfile = "FROM nodeops/sandbox:debian\n";
    let named = json!({ "name": "env", "dockerfile": dockerfile, "base": "nodeops/sandbox:debian", "disk_size_bytes": 64 << 20 });
    let id = api.post("/v1/templates", named).await.data()["id"].as_str().unwrap().to_owned();
    api.get(&format!("/v1/templates/{id}/logs")).await;
    assert_eq!(api.get("/v1/templates/env").await.data()["ext4_size_bytes"], 64 << 20);
    let other = json!({ "name": "env", "dockerfile": dockerfile, "base": "alpine" });
    assert_eq!(api.post("/v1/templates", other).await.fail(400), "base_mismatch");
    let tiny = json!({ "name": "env", "dockerfile": dockerfile, "disk_size_bytes": 5 });
    assert_eq!(api.post("/v1/templates", tiny).await.fail(400), "invalid_disk_size");
    let answer = api.get("/v1/templates/env?include=everything").await;
    assert_eq!(answer.fail(400), "invalid_parameter");
}
