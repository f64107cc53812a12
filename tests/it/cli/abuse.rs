//! What strangers send to a server, and what becomes of them: bytes in, status and connection out.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{BOTH_FORMS, McpCli, POST, Serving};

const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;

fn serve(args: &[&str]) -> Serving {
    Serving::start(McpCli::new(&["serve", "-p", "0"]).args(args))
}

fn call(n_dice: &Value) -> String {
    let params = json!({"name": "roll_dice", "arguments": {"n_dice": n_dice}});
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string()
}

#[test]
fn who_asks_under_another_name_or_for_another_page_is_refused_first() {
    let server = serve(&["--auth", "--allowed-host", "my.example", "--path", "/mcp"]);
    for (headers, status) in [
        ("host: localhost", 401),
        ("host: my.example", 401),
        ("host: my.example:443", 401),
        ("host: evil.example", 403),
        ("host: localhost\norigin: https://evil.example", 403),
        ("host: localhost\norigin: null", 403),
        (
            "host: localhost\norigin: http://localhost.evil.example",
            403,
        ),
        // A page of this machine, such as the MCP Inspector's.
        ("host: localhost\norigin: http://localhost:6274", 401),
        ("host: localhost\nhost: localhost", 400),
        ("host: localhost\nhost: evil.example", 400),
        ("accept: */*", 400),
    ] {
        let headers = headers.replace('\n', "\r\n");
        // The length would be refused as well, but only after the names.
        let request = format!(
            "POST /mcp HTTP/1.1\r\n{headers}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"
        );
        let reply = server.raw(request.as_bytes());
        assert_eq!(reply.status(), status, "{headers}: {}", reply.text);
        let is_told = reply
            .text
            .contains("access-control-allow-origin: http://localhost:6274");
        assert_eq!(is_told, headers.ends_with(":6274"), "{}", reply.text);
    }
    let request = "POST /mcp HTTP/1.1\r\nhost: evil.example\r\ncontent-length: 99999999999\r\n\r\n";
    assert_eq!(server.raw(request.as_bytes()).status(), 403);
    let request = "POST http://evil.example/mcp HTTP/1.1\r\nhost: localhost\r\n\r\n";
    assert_eq!(server.raw(request.as_bytes()).status(), 400);
}

#[test]
fn a_page_that_is_listed_may_call_and_is_told_so() {
    let server = serve(&["--allowed-origin", "https://app.example"]);
    let preflight = "OPTIONS /mcp HTTP/1.1\norigin: https://app.example\n\
        access-control-request-method: POST\naccess-control-request-headers: authorization,mcp-method";
    let reply = server.send(preflight, b"");
    assert_eq!(reply.status(), 200, "{}", reply.text);
    for header in [
        "access-control-allow-origin: https://app.example",
        "access-control-allow-methods: POST",
        "access-control-allow-headers: authorization,mcp-method",
    ] {
        assert!(reply.text.contains(header), "{header}: {}", reply.text);
    }
    let origin = "origin: https://app.example";
    let reply = server.send(&format!("{POST}\n{BOTH_FORMS}\n{origin}"), LIST.as_bytes());
    assert_eq!(reply.status(), 200, "{}", reply.text);
    assert!(
        reply
            .text
            .contains("access-control-allow-origin: https://app.example")
    );

    let other = preflight.replace("app.example", "evil.example");
    assert_eq!(server.send(&other, b"").status(), 403);

    let server = serve(&[]);
    let reply = server.send("OPTIONS /mcp HTTP/1.1", b"");
    let allows = "access-control-allow-origin";
    assert!(!reply.text.contains(allows), "{}", reply.text);
    // One that is not this machine's alone answers pages of no origin that is not listed.
    let server = serve(&["--host", "0.0.0.0"]);
    let reply = server.send("OPTIONS /mcp HTTP/1.1", b"");
    assert_eq!(reply.status(), 405);
    let page = preflight.replace("https://app.example", "http://localhost:6274");
    assert_eq!(server.send(&page, b"").status(), 403);
}

#[test]
fn a_body_that_is_no_message_is_a_bad_request_with_the_error_of_json_rpc() {
    let server = serve(&[]);
    let nested = "[".repeat(100_000) + &"]".repeat(100_000);
    let nested_call = call(&json!(1)).replace(":1}", &format!(":{nested}}}"));
    for (body, code) in [
        (&b""[..], -32700),
        (b"{", -32700),
        (b"\xef\xbb\xbf{}", -32700),
        (
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}",
            -32700,
        ),
        (b"{\"jsonrpc\":\"2.0\",\"id\":NaN}", -32700),
        (b"{}", -32600),
        (
            b"{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"ping\"}",
            -32600,
        ),
        (
            b"{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"ping\"}",
            -32600,
        ),
        (
            b"[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}]",
            -32600,
        ),
        (b"[]", -32600),
        (nested.as_bytes(), -32600),
        (nested_call.as_bytes(), -32600),
        (call(&json!(7)).replace(":7}", ":1e400}").as_bytes(), -32600),
    ] {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let reply = server.post(body);
        assert_eq!(reply.status(), 400, "{shown}: {}", reply.text);
        assert_eq!(reply.code(), code, "{shown}: {}", reply.text);
    }
}

#[test]
fn a_number_of_dice_that_is_none_is_an_error_of_the_tool() {
    let server = serve(&[]);
    for n_dice in [
        json!(-1),
        json!(0),
        json!(10_001),
        json!(9_223_372_036_854_775_808_u64),
        json!(1e23),
        json!(1e12),
        json!(3.5),
        json!("3"),
        json!(null),
        json!(true),
        json!([1]),
    ] {
        let reply = server.post(call(&n_dice).as_bytes());
        assert_eq!(reply.status(), 200, "{n_dice}: {}", reply.text);
        let result = &reply.json()["result"];
        assert_eq!(result["isError"], true, "{n_dice}: {result}");
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(text.contains("from 1 to 10000"), "{n_dice}: {text}");
    }
    let whole = server.post(call(&json!(2.0)).as_bytes()).json();
    assert_eq!(
        whole["result"]["structuredContent"]["result"]
            .as_array()
            .unwrap()
            .len(),
        2
    );

    let bare = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#;
    for body in [
        bare.to_owned(),
        bare.replace("call\"", "call\",\"params\":[]"),
        bare.replace(
            "call\"",
            "call\",\"params\":{\"name\":\"roll_dice\",\"arguments\":[]}",
        ),
        bare.replace(
            "call\"",
            "call\",\"params\":{\"name\":\"a\",\"name\":\"b\"}",
        ),
    ] {
        let reply = server.post(body.as_bytes());
        assert_eq!(
            (reply.status(), reply.code()),
            (200, -32602),
            "{body}: {}",
            reply.text
        );
    }
    let response = call(&json!(1)).replace("\"id\"", "\"result\":{},\"id\"");
    let reply = server.post(response.as_bytes());
    assert_eq!(
        (reply.status(), reply.code()),
        (400, -32600),
        "{}",
        reply.text
    );

    let other = call(&json!(1)).replace("roll_dice", "roll_coins");
    let reply = server.post(other.as_bytes());
    assert_eq!(
        (reply.status(), reply.code()),
        (200, -32602),
        "{}",
        reply.text
    );
}

#[test]
fn the_protocol_is_kept_in_both_eras() {
    let server = serve(&[]);
    let version = "mcp-protocol-version: 2026-07-28";
    let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
    let list = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{{meta}}}}}"#);
    let unknown = list.replace("tools/list", "tools/steal");
    for (headers, body, status, code) in [
        (format!("{version}\nmcp-method: tools/list"), &list, 200, 0),
        (
            format!("{version}\nmcp-method: tools/call"),
            &list,
            400,
            -32020,
        ),
        (version.to_owned(), &list, 400, -32020),
        (
            format!("{version}\n{version}\nmcp-method: tools/list"),
            &list,
            200,
            0,
        ),
        (
            "mcp-protocol-version: 2025-11-25\nmcp-method: tools/list".to_owned(),
            &list,
            400,
            -32020,
        ),
        ("mcp-method: tools/list".to_owned(), &list, 400, -32020),
        (
            format!("{version}\nmcp-method: tools/steal"),
            &unknown,
            404,
            -32601,
        ),
        (
            "mcp-protocol-version: 2099-01-01\nmcp-method: tools/list".to_owned(),
            &list.replace("2026-07-28", "2099-01-01"),
            400,
            -32022,
        ),
        (
            "mcp-protocol-version: 2099-01-01".to_owned(),
            &LIST.to_owned(),
            400,
            -32022,
        ),
        (
            "mcp-protocol-version: 2025-06-18".to_owned(),
            &LIST.to_owned(),
            200,
            0,
        ),
        (String::new(), &LIST.to_owned(), 200, 0),
    ] {
        let head = format!("{POST}\n{BOTH_FORMS}\n{headers}");
        let reply = server.send(head.trim(), body.as_bytes());
        let answer = reply.json();
        assert_eq!(reply.status(), status, "{headers}: {answer}");
        assert_eq!(
            answer["error"]["code"].as_i64().unwrap_or(0),
            code,
            "{headers}: {answer}"
        );
    }
    for method in ["GET", "DELETE", "PUT", "HEAD"] {
        let head = format!("{method} /mcp HTTP/1.1\naccept: text/event-stream");
        assert_eq!(server.send(&head, b"").status(), 405, "{method}");
    }
}

#[test]
fn what_curl_sends_is_accepted_and_what_a_form_sends_is_not() {
    let server = serve(&[]);
    for (head, status) in [
        (POST.to_owned(), 200),
        (format!("{POST}\naccept: */*"), 200),
        (format!("{POST}; charset=utf-8\naccept: */*"), 200),
        (format!("{POST}\naccept: */*;q=0.8"), 200),
        (format!("{POST}\naccept: application/json, */*"), 200),
        (format!("{POST}\naccept: text/html"), 406),
        (
            "POST /mcp HTTP/1.1\ncontent-type: text/plain\naccept: */*".to_owned(),
            415,
        ),
        (
            "POST /mcp HTTP/1.1\ncontent-type: application/x-www-form-urlencoded".to_owned(),
            415,
        ),
        (
            "POST /mcp/ HTTP/1.1\ncontent-type: application/json".to_owned(),
            200,
        ),
        (
            "POST /mcp/x HTTP/1.1\ncontent-type: application/json".to_owned(),
            404,
        ),
        (
            "POST /mcp/../mcp HTTP/1.1\ncontent-type: application/json".to_owned(),
            404,
        ),
        (
            "POST //mcp HTTP/1.1\ncontent-type: application/json".to_owned(),
            404,
        ),
        ("GET /healthz HTTP/1.1".to_owned(), 200),
    ] {
        let reply = server.send(&head, LIST.as_bytes());
        assert_eq!(reply.status(), status, "{head}: {}", reply.text);
    }
}

#[test]
fn too_much_is_refused_and_the_connection_closed() {
    let server = serve(&[]);
    let too_large = vec![b' '; (256 << 10) + 1];
    assert_eq!(server.post(&too_large).status(), 413);
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000)).repeat(5);
    let chunked = format!("{POST}\nhost: localhost\n{BOTH_FORMS}\ntransfer-encoding: chunked\n\n")
        .replace('\n', "\r\n");
    let reply = server.raw(format!("{chunked}{chunk}0\r\n\r\n").as_bytes());
    assert_eq!(reply.status(), 413, "{}", reply.text);

    let began = Instant::now();
    let announced = "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000000000\r\n\r\n";
    let reply = server.raw(announced.as_bytes());
    assert_eq!(
        (reply.status(), reply.was_closed),
        (413, true),
        "{}",
        reply.text
    );
    assert!(began.elapsed() < Duration::from_secs(2));

    let headers = |count: usize, size: usize| -> String {
        let value = "x".repeat(size);
        (0..count)
            .map(|number| format!("x-{number}: {value}\r\n"))
            .collect()
    };
    for (head, status) in [
        (
            format!(
                "GET /mcp HTTP/1.1\r\nhost: localhost\r\n{}\r\n",
                headers(101, 1)
            ),
            431,
        ),
        (
            format!(
                "GET /mcp HTTP/1.1\r\nhost: localhost\r\n{}\r\n",
                headers(1, 500 << 10)
            ),
            431,
        ),
        (
            format!(
                "GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n",
                "x".repeat(100_000)
            ),
            414,
        ),
    ] {
        let reply = server.raw(head.as_bytes());
        assert_eq!(
            (reply.status(), reply.was_closed),
            (status, true),
            "{}",
            reply.text
        );
    }
}

#[test]
fn a_short_message_of_many_values_is_refused() {
    let values = vec![json!([0]); 20_000];
    let message = |method: &str, params: Value| {
        json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
    };
    let capabilities = json!({"protocolVersion": "2025-11-25", "capabilities":
        {"experimental": {"a": values[..200]}}, "clientInfo": {"name": "a", "version": "1"}});
    for args in [&[][..], &["--sessions"]] {
        let server = serve(args);
        for message in [
            message(
                "tools/call",
                json!({"name": "roll_dice", "arguments": {"a": values}}),
            ),
            message("ping", json!({"a": values})),
            message("initialize", capabilities.clone()),
        ] {
            let reply = server.post(message.as_bytes());
            assert_eq!(
                (reply.status(), reply.code()),
                (400, -32600),
                "{}",
                reply.text
            );
            assert!(reply.text.contains("too many values"), "{}", reply.text);
        }
        let few = message(
            "tools/call",
            json!({"name": "roll_dice", "arguments": {"n_dice": 2}}),
        );
        assert!(!server.post(few.as_bytes()).text.contains("too many values"));
    }
}

#[test]
fn what_is_not_http_1_is_refused() {
    let server = serve(&[]);
    for (bytes, status) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], 400),
        // HTTP/2 would not understand an answer in HTTP/1.1.
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0),
        (b"\0\0\0\0\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nhost : localhost\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n host: localhost\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: gzip\r\n\r\n", 400),
    ] {
        let reply = server.raw(bytes);
        let shown = String::from_utf8_lossy(bytes);
        assert_eq!((reply.status(), reply.was_closed), (status, true), "{shown}: {}", reply.text);
    }
}

#[test]
fn a_line_may_end_without_its_carriage_return() {
    // RFC 9112 section 2.2 lets a server take it, and hyper does. It frames nothing else.
    let server = serve(&[]);
    let reply = server.raw(b"GET /healthz HTTP/1.1\nhost: localhost\nconnection: close\n\n");
    assert_eq!(reply.status(), 200, "{}", reply.text);
    let reply = server.raw(b"GET /healthz HTTP/1.1\nhost: evil.example\nconnection: close\n\n");
    assert_eq!(reply.status(), 403, "{}", reply.text);
}

#[test]
fn a_request_of_two_lengths_ends_its_connection() {
    let server = serve(&[]);
    // Between a proxy that believes the one and a server that believes the other, the rest would be
    // a request that nobody saw (RFC 9112 section 6.1).
    let request = b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\
        transfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let reply = server.raw(request);
    assert!(reply.was_closed, "{}", reply.text);
    assert_eq!(reply.text.matches("HTTP/1.1 ").count(), 1, "{}", reply.text);
}

#[test]
fn calls_that_are_abandoned_cost_nothing() {
    let server = serve(&[]);
    let body = call(&json!(1e12));
    for _ in 0..40 {
        let head = format!(
            "{POST}\nhost: localhost\n{BOTH_FORMS}\ncontent-length: {}\n\n",
            body.len()
        );
        let mut stream = server.connect();
        stream
            .write_all(head.replace('\n', "\r\n").as_bytes())
            .unwrap();
        stream.write_all(body.as_bytes()).unwrap();
    }
    let began = Instant::now();
    assert_eq!(server.post(call(&json!(3)).as_bytes()).status(), 200);
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[test]
fn when_there_is_no_room_a_client_is_told_when_to_come_again() {
    let server = serve(&[]);
    let mut held: Vec<TcpStream> = (0..768).map(|_| server.connect()).collect();
    let last = held.last_mut().unwrap();
    last.set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    assert!(last.read(&mut [0]).is_err(), "the last is let in");
    let mut busy = String::new();
    server.connect().read_to_string(&mut busy).unwrap();
    assert!(
        busy.starts_with("HTTP/1.1 503 ") && busy.contains("retry-after: 5"),
        "{busy}"
    );
    drop(held);
    let began = Instant::now();
    while server.post(call(&json!(3)).as_bytes()).status() != 200 {
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}
