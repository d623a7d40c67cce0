//! Every example of the specification, sent by curl as it stands there; and the image that it makes boots.

use std::process::Command;

use drydock_tests::{base_image, cache, fsck, privileged, run, shared};
use serde_json::{Value, json};

use super::server::Server;

/// Sends the example to `server` in place of the service's own address.
fn example(server: &Server, command: &str) -> String {
    let command = command.replace("https://api.sb.createos.sh", &server.url);
    let mut shell = Command::new("sh");
    shell.args(["-euc", &command.replace("curl ", "curl --silent --show-error --fail-with-body ")]);
    let output = run(shell.env("CREATEOS_API_KEY", server.key.as_ref().unwrap()));
    String::from_utf8(output.stdout).unwrap()
}

fn data(answer: &str) -> Value {
    let answer: Value = serde_json::from_str(answer).unwrap();
    assert_eq!(answer["status"], "success", "{answer}");
    answer["data"].clone()
}

#[test]
fn the_examples_of_the_specification() {
    if !privileged(&["curl", "mmdebstrap", "runc", "e2fsck"]) {
        return;
    }
    let Some(shared) = shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    // The cache is that of the other test of this Dockerfile: what takes long is done once.
    let state = cache().join("state");
    let settings = [("DRYDOCK_CACHE", state.to_str().unwrap()), ("DRYDOCK_DISK_SIZE_BYTES", "1073741824")];
    let server = Server::start(folder.path(), base_image(), &settings);

    let created = data(&example(
        &server,
        r#"curl -X POST https://api.sb.createos.sh/v1/templates \
             -H "X-Api-Key: $CREATEOS_API_KEY" \
             -H "Content-Type: application/json" \
             -d '{
               "name": "my-python-env",
               "dockerfile": "FROM nodeops/sandbox:debian\nRUN apt-get update && apt-get install -y python3 python3-pip"
             }'"#,
    ));
    let id = created["id"].as_str().unwrap();
    assert_eq!((&created["name"], &created["base"]), (&json!("my-python-env"), &json!("nodeops/sandbox:debian")));
    assert_eq!(
        (&created["status"], &created["ext4_size_bytes"], &created["built_at"]),
        (&json!("pending"), &json!(0), &Value::Null)
    );

    let log = example(
        &server,
        &format!(r#"curl https://api.sb.createos.sh/v1/templates/{id}/logs -H "X-Api-Key: $CREATEOS_API_KEY""#),
    );
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["stream"], "Step 1/2 : FROM nodeops/sandbox:debian\n");
    let said: String = lines.iter().map(|line| line["stream"].as_str().unwrap()).collect();
    assert!(
        said.contains("\nStep 2/2 : RUN apt-get update && apt-get install -y python3 python3-pip\n ---> "),
        "{said}"
    );
    assert!(said.lines().last().unwrap().starts_with("Successfully built "), "{said}");
    assert_eq!(lines.last().unwrap()["status"], "ready");

    let listed =
        data(&example(&server, r#"curl https://api.sb.createos.sh/v1/templates -H "X-Api-Key: $CREATEOS_API_KEY""#));
    assert_eq!(listed["templates"][0]["id"], id);
    let got = data(&example(
        &server,
        r#"curl "https://api.sb.createos.sh/v1/templates/my-python-env?include=dockerfile" -H "X-Api-Key: $CREATEOS_API_KEY""#,
    ));
    assert_eq!((&got["id"], &got["status"], &got["ext4_size_bytes"]), (&json!(id), &json!("ready"), &json!(1 << 30)));
    assert!(got["dockerfile"].as_str().unwrap().starts_with("FROM nodeops/sandbox:debian\nRUN "));

    let image = folder.path().join("images").join(format!("{}.ext4", got["rootfs_sha256"].as_str().unwrap()));
    assert_eq!(std::fs::metadata(&image).unwrap().len(), 1 << 30);
    fsck(&image);
    let mut boot = Command::new(shared.join("tools/boot-image"));
    run(boot.arg(&image).args(["echo answer-$(python3 -c 'print(6*7)')", "answer-42"]));

    let deleted = data(&example(
        &server,
        &format!(r#"curl -X DELETE https://api.sb.createos.sh/v1/templates/{id} -H "X-Api-Key: $CREATEOS_API_KEY""#),
    ));
    assert_eq!(deleted, json!({ "id": id, "status": "destroyed" }));
    assert!(image.exists(), "who boots it now is not disturbed");
    server.stop();
}
