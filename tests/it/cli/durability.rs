//! `kill -9` of a gateway with `--store FILE`: what was acknowledged is there when it starts again.
//!
//! `KILL_ROUNDS=200 cargo test --test it durability` does so 200 times.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::Gateway;

const CLIENTS: usize = 4;

/// What clients know of the responses of a gateway.
#[derive(Default)]
struct Acknowledged {
    kept: Vec<String>,
    /// Of these, only the request was acknowledged: they were to be made in the background.
    queued: Vec<String>,
    deleted: HashSet<String>,
}

#[test]
fn what_was_acknowledged_survives_a_kill_at_any_moment() {
    let rounds = std::env::var("KILL_ROUNDS").map_or(8, |it| it.parse().unwrap());
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("responses.redb");
    let args = ["--store", file.to_str().unwrap()];
    let acknowledged = Mutex::<Acknowledged>::default();
    let mut gateway = Gateway::start(&args);
    let mut checked = 0;
    for round in 0..rounds {
        let address = gateway.serving.address().to_owned();
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (address, acknowledged) = (&address, &acknowledged);
                scope.spawn(move || while ask(address, client, acknowledged).is_some() {});
            }
            std::thread::sleep(Duration::from_millis(rand::random_range(1..120)));
            gateway.serving.child.kill().unwrap();
            gateway.serving.child.wait().unwrap();
        });
        gateway = Gateway::start(&args);
        let acknowledged = acknowledged.lock().unwrap();
        let is_last = round + 1 == rounds;
        // What was there after an earlier round is looked at once more in the end.
        let first = if is_last {
            0
        } else {
            checked.min(acknowledged.kept.len())
        };
        for id in &acknowledged.kept[first..] {
            let expected = if acknowledged.deleted.contains(id) {
                404
            } else {
                200
            };
            let reply = gateway.send("GET", &format!("/responses/{id}"));
            assert_eq!(
                reply.status(),
                expected,
                "round {round}, {id}: {}",
                reply.text
            );
            if expected == 200 {
                let status = reply.json()["status"].clone();
                let has_ended = status == "completed"
                    || (acknowledged.queued.contains(id) && status == "failed");
                assert!(has_ended, "round {round}, {id}: {status}");
            }
        }
        checked = acknowledged.kept.len();
    }
    let acknowledged = acknowledged.lock().unwrap();
    let (kept, deleted) = (acknowledged.kept.len(), acknowledged.deleted.len());
    assert!(
        kept > rounds,
        "{rounds} kills, {kept} acknowledged, {deleted} of them deleted again"
    );
}

/// Asks for something, and notes what was acknowledged. Nothing if the gateway is gone.
fn ask(address: &str, client: usize, acknowledged: &Mutex<Acknowledged>) -> Option<()> {
    let before = {
        let acknowledged = acknowledged.lock().unwrap();
        let mut kept = acknowledged.kept.iter().rev();
        kept.find(|id| !acknowledged.deleted.contains(*id) && !acknowledged.queued.contains(id))
            .cloned()
    };
    let text = "a".repeat(rand::random_range(0..20_000));
    match (rand::random_range(0..8), before) {
        (0, Some(id)) if client == 0 => {
            // Whether it is deleted is open until that is acknowledged: nobody looks at it again.
            let mut acknowledged = acknowledged.lock().unwrap();
            acknowledged.kept.retain(|it| *it != id);
            let reply = send(address, &format!("DELETE /v1/responses/{id}"), "")?;
            if !reply.ends_with("\"deleted\":true}") {
                return None;
            }
            acknowledged.kept.push(id.clone());
            acknowledged.deleted.insert(id);
        }
        (1 | 2, _) => {
            let request = json!({"input": text, "background": true});
            let response = create(address, &request)?;
            let mut acknowledged = acknowledged.lock().unwrap();
            acknowledged.queued.push(id_of(&response));
            acknowledged.kept.push(id_of(&response));
        }
        (3, _) => {
            let request = json!({"input": text, "stream": true});
            let stream = send(address, "POST /v1/responses", &request.to_string())?;
            let last = stream
                .lines()
                .rev()
                .find_map(|it| it.strip_prefix("data: "))?;
            let event: Value = serde_json::from_str(last).ok()?;
            if event["type"] == "response.completed" {
                acknowledged
                    .lock()
                    .unwrap()
                    .kept
                    .push(id_of(&event["response"]));
            }
        }
        (4, Some(id)) => {
            let request = json!({"input": text, "previous_response_id": id});
            // It may have been deleted by now.
            if let Some(response) = create(address, &request) {
                acknowledged.lock().unwrap().kept.push(id_of(&response));
            }
        }
        _ => {
            let response = create(address, &json!({"input": text}))?;
            acknowledged.lock().unwrap().kept.push(id_of(&response));
        }
    }
    Some(())
}

fn id_of(response: &Value) -> String {
    response["id"].as_str().unwrap().to_owned()
}

fn create(address: &str, request: &Value) -> Option<Value> {
    let reply = send(address, "POST /v1/responses", &request.to_string())?;
    let (head, body) = reply.split_once("\r\n\r\n")?;
    // A body that was cut off is none.
    let response = serde_json::from_str(body).ok()?;
    head.starts_with("HTTP/1.1 200").then_some(response)
}

/// Sends one request on a connection of its own; nothing if that fails.
fn send(address: &str, line: &str, body: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).ok()?;
    (!reply.is_empty()).then_some(reply)
}
