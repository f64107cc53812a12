//! The control plane towards owners and tunnel clients.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::tunnel_contract::validate;
use crate::support::tunnel_gateway::{GATEWAY_KEY, TunnelGateway, result};

const LIST: &str = r#"{"jsonrpc":"2.0","id":"a","method":"tools/list"}"#;
const OTHER: &str = "tunnel_0123456789abcdef0123456789abcdef";

/// The endpoints of a tunnel, and those without one.
fn endpoints(id: &str) -> [(&'static str, String); 7] {
    [
        ("GET", format!("/v1/tunnels/{id}")),
        ("POST", format!("/v1/tunnels/{id}")),
        ("DELETE", format!("/v1/tunnels/{id}")),
        ("GET", format!("/v1/tunnels/{id}/poll")),
        ("POST", format!("/v1/tunnels/{id}/response")),
        ("POST", format!("/v1/mcp/{id}")),
        ("DELETE", format!("/v1/mcp/{id}/main")),
    ]
}

#[tokio::test]
async fn only_the_exact_key_opens_an_endpoint() {
    let gateway = TunnelGateway::start();
    let id = gateway.create().await;
    let all = [
        ("GET", "/v1/tunnels".to_owned()),
        ("POST", "/v1/tunnels".to_owned()),
    ];
    for (method, path) in all.into_iter().chain(endpoints(&id)) {
        for sent in [
            None,
            Some("Bearer wrong".to_owned()),
            Some(format!("Basic {GATEWAY_KEY}")),
            Some(GATEWAY_KEY.to_owned()),
            Some(format!("Bearer {GATEWAY_KEY}x")),
            Some(format!("Bearer {GATEWAY_KEY} x")),
        ] {
            let headers: Vec<_> = sent.iter().map(|it| ("authorization", &**it)).collect();
            let replied = gateway.send_as(method, &path, &headers).await;
            assert_eq!(replied.status, 401, "{method} {path} {sent:?}");
            validate("/components/schemas/APIErrorResponse", &replied.json()).unwrap();
        }
    }
    assert_eq!(
        gateway
            .send("GET", &format!("/v1/tunnels/{id}"), "")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_tunnel_has_an_id_that_was_created_with_this_key() {
    let gateway = TunnelGateway::start();
    for (id, expected) in [
        ("nonsense", (400, "invalid_tunnel_id_format")),
        (OTHER, (404, "tunnel_not_found")),
    ] {
        for (method, path) in endpoints(id) {
            let body = if path.ends_with("/response") {
                "{}"
            } else {
                ""
            };
            let refused = gateway.send(method, &path, body).await;
            let (status, code) = refused.refusal();
            assert_eq!((status, &*code), expected, "{method} {path}");
            validate("/components/schemas/APIErrorResponse", &refused.json()).unwrap();
        }
    }
    // A gateway that was started again with the same key knows the id.
    let id = gateway.create().await;
    let again = TunnelGateway::start();
    assert!(again.poll(&id, "timeout_ms=1").await.is_empty());
}

#[tokio::test]
async fn an_owner_creates_names_lists_and_deletes_tunnels() {
    let gateway = TunnelGateway::start();
    let about = r#"{"name":"mine","description":"d","organization_ids":["org_1"],"x":1}"#;
    let created = gateway.send("POST", "/v1/tunnels", about).await.json();
    let id = created["id"].as_str().unwrap();
    let expected =
        json!({"id": id, "name": "mine", "description": "d", "organization_ids": ["org_1"]});
    assert_eq!(created, expected);
    validate("/components/schemas/TunnelClientMetadata", &created).unwrap();
    let path = format!("/v1/tunnels/{id}");
    assert_eq!(gateway.send("GET", &path, "").await.json(), expected);
    let updated = gateway
        .send("POST", &path, r#"{"name":"yours","organization_ids":[]}"#)
        .await;
    let expected = json!({"id": id, "name": "yours", "description": "d"});
    assert_eq!(updated.json(), expected);
    let listed = gateway.send("GET", "/v1/tunnels", "").await.json();
    assert_eq!(listed, json!({"tunnels": [expected]}));
    let many = json!({"tenant_ids": vec!["x"; 101]}).to_string();
    for body in [
        "[]",
        "{",
        r#"{"name":1}"#,
        r#"{"organization_ids":"x"}"#,
        &many,
    ] {
        let refused = gateway.send("POST", "/v1/tunnels", body).await;
        assert_eq!(
            refused.refusal(),
            (400, "invalid_json_payload".to_owned()),
            "{body}"
        );
    }
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(20_000));
    let refused = gateway.send("POST", "/v1/tunnels", &large).await;
    assert_eq!(
        refused.refusal(),
        (413, "request_body_too_large".to_owned())
    );

    // Whoever polls or waits when a tunnel is deleted learns it at once.
    let (polling, path_of_poll) = (gateway.clone(), format!("{path}/poll?channel=other"));
    let polling = tokio::spawn(async move { polling.send("GET", &path_of_poll, "").await });
    gateway.poll(id, "timeout_ms=1").await;
    let asked = gateway.connect(id, &[], LIST);
    gateway.next(id).await;
    assert_eq!(
        gateway.send("DELETE", &path, "").await.json()["deleted"],
        true
    );
    let gone = (404, "tunnel_not_found".to_owned());
    assert_eq!(polling.await.unwrap().refusal(), gone);
    assert_eq!(asked.await.unwrap().refusal(), gone);
    assert_eq!(gateway.send("GET", &path, "").await.refusal(), gone);
    assert_eq!(
        gateway.send("GET", "/v1/tunnels", "").await.json(),
        json!({"tunnels": []})
    );
}

#[tokio::test]
async fn there_are_as_many_tunnels_and_polls_as_the_options_say() {
    let gateway = TunnelGateway::start_with(|options| {
        options.max_tunnels = 1;
        options.max_polls = 1;
    });
    let id = gateway.create().await;
    let refused = gateway.send("POST", "/v1/tunnels", "").await;
    assert_eq!(refused.refusal(), (429, "rate_limit_exceeded".to_owned()));
    let path = format!("/v1/tunnels/{id}/poll");
    let (polling, long) = (gateway.clone(), path.clone());
    // The short polls below may have the only place when this one comes.
    let polling =
        tokio::spawn(async move { while polling.send("GET", &long, "").await.status == 429 {} });
    let path = format!("{path}?timeout_ms=1");
    let refused = loop {
        let polled = gateway.send("GET", &path, "").await;
        if polled.status != 204 {
            break polled;
        }
    };
    assert_eq!(refused.refusal(), (429, "rate_limit_exceeded".to_owned()));
    assert_eq!(refused.headers["retry-after"], "2");
    // A client that leaves makes room.
    polling.abort();
    while gateway.send("GET", &path, "").await.status != 204 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_poll_waits_as_long_as_it_says_or_until_a_command_comes() {
    let short = TunnelGateway::start_with(|options| options.max_poll = Duration::from_millis(400));
    let id = short.create().await;
    for (query, at_least) in [
        ("timeout_ms=200", 200),
        ("timeout_ms=600000", 400),
        ("", 400),
    ] {
        let began = Instant::now();
        assert!(short.poll(&id, query).await.is_empty());
        let took = began.elapsed().as_millis();
        assert!(took >= at_least, "{query}: {took} ms");
    }
    let gateway = TunnelGateway::start();
    let id = gateway.connected().await;
    let (polling, other) = (gateway.clone(), id.clone());
    let polling = tokio::spawn(async move {
        let began = Instant::now();
        (polling.next(&other).await, began.elapsed())
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let asked = gateway.connect(&id, &[], LIST);
    let (command, took) = polling.await.unwrap();
    assert!(took < Duration::from_secs(20), "{took:?}");
    let posted = gateway.post(&id, &command, &result(200)).await;
    assert_eq!(posted.json(), json!({"status": "ok"}));
    assert_eq!(asked.await.unwrap().status, 200);
    for query in [
        "limit=0",
        "limit=26",
        "limit=x",
        "timeout_ms=0",
        "timeout_ms=-1",
        "channel=a.b",
    ] {
        let refused = gateway
            .send("GET", &format!("/v1/tunnels/{id}/poll?{query}"), "")
            .await;
        assert_eq!(refused.status, 400, "{query}");
    }
}

#[tokio::test]
async fn each_command_goes_to_one_poll_in_order_and_to_no_other_tunnel() {
    let gateway = TunnelGateway::start();
    let id = gateway.connected().await;
    let other = gateway.connected().await;
    let mut asked = Vec::new();
    for number in 0..5 {
        let list = format!(r#"{{"jsonrpc":"2.0","id":{number},"method":"tools/list"}}"#);
        asked.push(gateway.connect(&id, &[], &list));
        while gateway.budget.used() < (number + 1) * list.len() as u64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert!(gateway.poll(&other, "timeout_ms=1").await.is_empty());
    let mut commands = Vec::new();
    for expected in [2, 2, 1] {
        let polled = gateway.poll(&id, "limit=2").await;
        assert_eq!(polled.len(), expected);
        commands.extend(polled);
    }
    let ids: Vec<_> = commands
        .iter()
        .map(|it| it["jsonrpc"]["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids, [0, 1, 2, 3, 4]);
    let wrong = gateway.post(&other, &commands[0], &result(200)).await;
    assert_eq!(wrong.refusal(), (401, "tunnel_request_mismatch".to_owned()));
    for command in &commands {
        assert_eq!(gateway.post(&id, command, &result(200)).await.status, 200);
    }
    for asked in asked {
        assert_eq!(asked.await.unwrap().status, 200);
    }

    // Of two polls that wait at once, each command wakes one.
    let polls = [0, 1].map(|_| {
        let (gateway, id) = (gateway.clone(), id.clone());
        tokio::spawn(async move { gateway.poll(&id, "limit=1").await })
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let asked = [0, 1].map(|_| gateway.connect(&id, &[], LIST));
    let mut taken = Vec::new();
    for poll in polls {
        taken.extend(poll.await.unwrap());
    }
    assert_eq!(taken.len(), 2);
    assert_ne!(taken[0]["request_id"], taken[1]["request_id"]);
    for (command, asked) in taken.iter().zip(asked) {
        gateway.post(&id, command, &result(200)).await;
        drop(asked);
    }
}

#[tokio::test]
async fn an_answer_is_taken_once_and_only_as_the_contract_has_it() {
    let gateway = TunnelGateway::start();
    let id = gateway.connected().await;
    let asked = gateway.connect(&id, &[], LIST);
    let command = gateway.next(&id).await;
    let unknown = json!({"request_id": "x", "shard_token": "x"});
    let wrong = json!({"request_id": command["request_id"], "shard_token": "x"});
    let without = json!({"request_id": command["request_id"]});
    let kind = |kind: &str| {
        let mut answer = result(200);
        answer["resp_type"] = kind.into();
        answer
    };
    let mut bad_channel = result(200);
    bad_channel["channel"] = "a b".into();
    for (command, answer, expected) in [
        (&unknown, result(200), (404, "pending_request_not_found")),
        (&wrong, result(200), (400, "")),
        (&without, result(200), (400, "")),
        (&command, kind("x"), (400, "")),
        (&command, bad_channel, (400, "invalid_channel_format")),
        (
            &command,
            json!({"resp_code": 200}),
            (400, "invalid_json_payload"),
        ),
    ] {
        let (status, code) = gateway.post(&id, command, &answer).await.refusal();
        assert_eq!((status, &*code), expected, "{answer}");
    }
    // It still waits, and fields of newer clients do no harm.
    let mut newer = result(200);
    newer["resp_timing"] = json!(["malformed"]);
    newer["channel"] = "main".into();
    assert_eq!(gateway.post(&id, &command, &newer).await.status, 200);
    assert_eq!(asked.await.unwrap().json()["result"], json!({}));
    let again = gateway.post(&id, &command, &newer).await;
    assert_eq!(
        again.refusal(),
        (404, "pending_request_not_found".to_owned())
    );
}

#[tokio::test]
async fn a_body_over_the_limit_or_the_budget_is_refused_and_all_is_given_back() {
    let gateway = TunnelGateway::start_with(|options| {
        options.body.max_bytes = 100_000;
        options.budget = mcp_cli::budget::Budget::new(150_000);
    });
    let id = gateway.connected().await;
    let message = |size: usize| {
        format!(
            r#"{{"jsonrpc":"2.0","id":"a","method":"{}"}}"#,
            "x".repeat(size)
        )
    };
    let refused = gateway.connect(&id, &[], &message(100_000)).await.unwrap();
    assert_eq!(
        refused.refusal(),
        (413, "request_body_too_large".to_owned())
    );
    let first = gateway.connect(&id, &[], &message(90_000));
    while gateway.budget.used() < 90_000 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let refused = gateway.connect(&id, &[], &message(90_000)).await.unwrap();
    assert_eq!(refused.status, 503);
    assert_eq!(refused.headers["retry-after"], "2");
    let command = gateway.next(&id).await;
    let mut large = result(200);
    large["resp_json"]["result"]["text"] = "x".repeat(100_000).into();
    let refused = gateway.post(&id, &command, &large).await;
    assert_eq!(
        refused.refusal(),
        (413, "request_body_too_large".to_owned())
    );
    assert_eq!(gateway.post(&id, &command, &result(200)).await.status, 200);
    assert_eq!(first.await.unwrap().status, 200);
    while gateway.budget.used() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_shutdown_ends_polls_and_those_who_wait_at_once() {
    let gateway = TunnelGateway::start();
    let id = gateway.connected().await;
    let asked = gateway.connect(&id, &[], LIST);
    gateway.next(&id).await;
    let (polling, other) = (gateway.clone(), id.clone());
    let polling = tokio::spawn(async move { polling.poll(&other, "").await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let began = Instant::now();
    gateway.stop.cancel();
    assert!(polling.await.unwrap().is_empty());
    assert_eq!(
        asked.await.unwrap().refusal(),
        (503, "tunnel_transport_unavailable".to_owned())
    );
    assert!(began.elapsed() < Duration::from_secs(20));
}
