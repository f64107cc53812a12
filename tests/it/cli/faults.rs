//! What an endpoint can do wrong: each is named with its exit status, costs one request, and ends.

use std::time::{Duration, Instant};

use crate::support::{Authority, Faulty, KEY, McpCli, Run, Step};

const SSE: &str = "200 OK\r\ncontent-type: text/event-stream";
const JSON: &str = "200 OK\r\ncontent-type: application/json";
const COMPLETED: &str = "data: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp_1\",\"object\":\"response\",\"status\":\"completed\",\"output\":[]}}\n\n";

fn delta(text: &str) -> String {
    let event = serde_json::json!({"type": "response.output_text.delta", "item_id": "msg_1",
        "output_index": 0, "content_index": 0, "delta": text});
    format!("data: {event}\n\n")
}

/// Asks the faulty endpoint and checks that it did not take long.
fn ask(faulty: &Faulty, options: &[&str]) -> Run {
    let started = Instant::now();
    let run = McpCli::new(&["ask", "--base-url", &faulty.base_url(), "-q", "Go"])
        .args(options)
        .env("OPENAI_API_KEY", KEY)
        .run();
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "it took {:?}: {run}",
        started.elapsed()
    );
    assert!(!run.stderr.contains("panicked"), "{run}");
    assert!(!run.stderr.contains(KEY), "the key was shown");
    run
}

#[test]
fn odd_streams_that_are_whole_are_read_whole() {
    let crlf = (delta("Hello") + COMPLETED).replace('\n', "\r\n");
    let cr = (delta("Hello") + COMPLETED).replace('\n', "\r");
    for (name, body) in [
        (
            "a byte order mark",
            format!("\u{feff}{}{COMPLETED}", delta("Hello")),
        ),
        ("CRLF", crlf),
        ("CR alone", cr),
        (
            "comments",
            format!(": a\n\n:\n{}: b\n{COMPLETED}", delta("Hello")),
        ),
        (
            "a retry that is no number",
            format!("retry: 99999999999999999999\n{}{COMPLETED}", delta("Hello")),
        ),
        (
            "data without a colon",
            format!("data\n\n{}{COMPLETED}", delta("Hello")),
        ),
        (
            "event names and ids",
            format!("event: x\nid: 7\n{}{COMPLETED}", delta("Hello")),
        ),
        (
            "[DONE]",
            format!("{}{COMPLETED}data: [DONE]\n\n", delta("Hello")),
        ),
        (
            "two completed events",
            format!("{}{COMPLETED}{COMPLETED}", delta("Hello")),
        ),
        (
            "a delta after the end",
            format!("{}{COMPLETED}{}", delta("Hello"), delta("more")),
        ),
        (
            "a sequence number out of order",
            format!(
                "data: {{\"type\":\"x\",\"sequence_number\":9}}\n\n{}{COMPLETED}",
                delta("Hello")
            ),
        ),
        (
            "many tiny events",
            "data: {\"type\":\"ping\"}\n\n".repeat(100_000) + &delta("Hello") + COMPLETED,
        ),
    ] {
        let run = ask(&Faulty::answering(SSE, &body), &[]);
        assert_eq!(
            (run.exit, run.stdout.as_str()),
            (Some(0), "Hello\n"),
            "{name}: {}",
            run.stderr
        );
    }
}

#[test]
fn text_that_is_split_anywhere_is_put_together() {
    let body = delta("H\u{e9}llo \u{1f3b2}") + COMPLETED;
    let head = format!("HTTP/1.1 {SSE}\r\nconnection: close\r\n\r\n");
    let faulty = Faulty::start([
        Step::Write(head.into_bytes()),
        Step::Drip(body.into_bytes(), Duration::from_millis(1)),
    ]);
    let run = ask(&faulty, &[]);
    assert_eq!(run.stdout, "H\u{e9}llo \u{1f3b2}\n", "{run}");
}

#[test]
fn a_stream_that_breaks_off_is_exit_5_and_what_had_come_is_printed() {
    let half = delta("Half");
    let head = format!("HTTP/1.1 {SSE}\r\n");
    let chunked = |tail: &str| {
        let chunk = format!(
            "transfer-encoding: chunked\r\n\r\n{:x}\r\n{half}\r\n{tail}",
            half.len()
        );
        format!("{head}{chunk}").into_bytes()
    };
    let with_length = format!("{head}content-length: 5000\r\n\r\n{half}").into_bytes();
    for (name, steps) in [
        (
            "closed",
            vec![Step::Write(format!("{head}\r\n{half}").into_bytes())],
        ),
        (
            "inside an event",
            vec![Step::Write(
                format!("{head}\r\n{half}data: {{\"type\":").into_bytes(),
            )],
        ),
        ("a short length", vec![Step::Write(with_length)]),
        ("inside a chunk", vec![Step::Write(chunked("ff\r\nx"))]),
        (
            "after the last chunk",
            vec![Step::Write(chunked("0\r\n\r\n"))],
        ),
        ("reset", vec![Step::Write(chunked("")), Step::Reset]),
    ] {
        let faulty = Faulty::start(steps);
        let run = ask(&faulty, &[]);
        assert_eq!(run.exit, Some(5), "{name}: {run}");
        // A reset may overtake what was sent before it.
        if name != "reset" {
            assert_eq!(run.stdout, "Half", "{name}: {run}");
        }
        assert_eq!(faulty.requests(), 1, "{name}");
    }
}

#[test]
fn answers_that_are_none_are_named() {
    for (head, body, exit, words) in [
        ("200 OK", "", 5, "HTTP 200, without a body"),
        (
            "200 OK\r\ncontent-type: text/html",
            "<h1>Hi</h1>",
            5,
            "HTTP 200, with text/html: <h1>Hi</h1>",
        ),
        ("204 No Content", "", 5, "HTTP 204, without a body"),
        (JSON, "null", 5, "not a response"),
        (JSON, "{}", 5, "not a response"),
        (JSON, "{\"object\":\"response\",", 5, "not a response"),
        (
            SSE,
            "data: {\"type\":\"response.completed\"}\n\n",
            5,
            "the stream ended before the response did",
        ),
        (SSE, "data: 7\n\n", 5, "not a JSON object: 7"),
        (
            "301 Moved\r\nlocation: http://127.0.0.1:9/",
            "",
            3,
            "Error code: 301",
        ),
        (
            "307 Temporary Redirect\r\nlocation: /other",
            "",
            3,
            "redirects are not followed",
        ),
        ("401 Unauthorized", "", 3, "Error code: 401"),
        (
            "403 Forbidden\r\ncontent-type: text/plain",
            "no",
            3,
            "403 Forbidden, with text/plain: no",
        ),
        (
            "404 Not Found\r\ncontent-type: application/json",
            "{\"error\":{\"message\":\"gone\",\"code\":404}}",
            3,
            "Error code: 404 - gone",
        ),
        ("413 Payload Too Large", "", 3, "Error code: 413"),
        (
            "500 Oops\r\ncontent-type: application/json",
            "{\"error\":\"broken\"}",
            3,
            "Error code: 500 - broken",
        ),
        ("502 Bad Gateway\r\nx-request-id: req_7", "", 3, "req_7"),
        ("503 Unavailable", "", 3, "Error code: 503"),
        ("504 Timeout", "", 3, "Error code: 504"),
        ("424 Failed Dependency", "", 6, "Error code: 424"),
        (
            "424 Failed Dependency\r\ncontent-type: text/html",
            "<p>proxy",
            6,
            "<p>proxy",
        ),
        (
            "424 Failed Dependency\r\ncontent-type: application/json",
            "{\"error\":\"Error retrieving tool list from MCP server: 'a'. Http status code: 421 (Misdirected Request)\"}",
            6,
            "does not know the name",
        ),
    ] {
        let faulty = Faulty::answering(head, body);
        let run = ask(&faulty, &[]);
        assert_eq!(run.exit, Some(exit), "{head}: {run}");
        assert!(run.stderr.contains(words), "{words:?} is not in {run}");
        assert_eq!(faulty.requests(), 1, "{head}");
    }
}

#[test]
fn fields_that_are_missing_null_or_of_another_kind_do_no_harm() {
    let message = |content: serde_json::Value| serde_json::json!([{"type": "message", "id": "m", "role": "assistant", "content": content}]);
    let text = message(serde_json::json!([{"type": "output_text", "text": "Hello"}]));
    for (name, output, stdout) in [
        ("no annotations", text.clone(), "Hello\n"),
        (
            "unknown parts",
            message(
                serde_json::json!([{"type": "output_text", "text": "Hello"}, {"type": "new"}, 7]),
            ),
            "Hello\n",
        ),
        ("null content", message(serde_json::Value::Null), ""),
        (
            "items of no type",
            serde_json::json!([{}, null, 7, "a", []]),
            "",
        ),
        (
            "an error as a text",
            serde_json::json!([{"type": "mcp_call", "id": "c", "name": "n", "server_label": "s", "arguments": "{}", "error": "boom"}]),
            "",
        ),
        ("no output", serde_json::Value::Null, ""),
    ] {
        let response = serde_json::json!({"object": "response", "status": "completed", "output": output,
            "tools": [{"type": "brand_new"}], "usage": null, "service_tier": "new"});
        let run = ask(&Faulty::answering(JSON, response.to_string()), &[]);
        assert_eq!(
            (run.exit, run.stdout.as_str()),
            (Some(0), stdout),
            "{name}: {}",
            run.stderr
        );
        let event = serde_json::json!({"type": "response.completed", "response": response});
        let run = ask(&Faulty::answering(SSE, format!("data: {event}\n\n")), &[]);
        assert_eq!(
            (run.exit, run.stdout.as_str()),
            (Some(0), stdout),
            "{name}, streamed: {}",
            run.stderr
        );
    }
}

#[test]
fn an_answer_without_end_is_cut_off() {
    let head = format!("HTTP/1.1 {SSE}\r\nconnection: close\r\n\r\n").into_bytes();
    let megabyte = 1024 * 1024;
    for (name, first, again, times) in [
        ("one endless line", "data: ", "a".repeat(megabyte), 64),
        ("comments", "", ": ping\n\n".repeat(megabyte / 8), 64),
        (
            "small events",
            "",
            "data: {\"type\":\"ping\"}\n\n".repeat(megabyte / 24),
            64,
        ),
    ] {
        let faulty = Faulty::start([
            Step::Write([head.as_slice(), first.as_bytes()].concat()),
            Step::Repeat(again.into_bytes(), times),
        ]);
        let run = ask(&faulty, &["--max-bytes", "4000000"]);
        assert_eq!(run.exit, Some(5), "{name}: {run}");
        assert!(
            run.stderr
                .contains("the answer is larger than 4000000 bytes"),
            "{name}: {run}"
        );
    }
    let head = format!("HTTP/1.1 {JSON}\r\nconnection: close\r\n\r\n").into_bytes();
    let faulty = Faulty::start([Step::Write(head), Step::Repeat(vec![b' '; megabyte], 64)]);
    let run = ask(&faulty, &["--max-bytes", "4000000"]);
    assert!(
        run.stderr
            .contains("the answer is larger than 4000000 bytes"),
        "{run}"
    );
}

#[test]
fn an_answer_of_small_things_without_end_is_cut_off() {
    let head = format!("HTTP/1.1 {SSE}\r\nconnection: close\r\n\r\n").into_bytes();
    let item = |index: usize| {
        format!(
            "data: {{\"type\":\"response.output_item.done\",\"output_index\":{index},\"item\":\
             {{\"type\":\"reasoning\",\"id\":\"rs_{index}\",\"summary\":[]}}}}\n\n"
        )
    };
    let items: String = (0..2000).map(item).collect();
    // A thousand bytes of it take a hundred times as many in memory.
    let lists = format!(
        "data: {{\"type\":\"x\",\"x\":[{}0]}}\n\n",
        "[],".repeat(700_000)
    );
    for (body, bridge, message) in [
        (&items, false, "the answer has more than 1000 items"),
        (&items, true, "the answer has more than 1000 items"),
        (&lists, false, "the answer is larger than 268435456 bytes"),
        (&lists, true, "the answer is larger than 268435456 bytes"),
    ] {
        let faulty = Faulty::start([
            Step::Write([head.as_slice(), body.as_bytes()].concat()),
            Step::Hang,
        ]);
        let options: &[&str] = if bridge { &["--bridge"] } else { &[] };
        let run = ask(&faulty, options);
        assert_eq!(run.exit, Some(5), "{message}: {run}");
        assert!(run.stderr.contains(message), "{run}");
    }
}

#[test]
fn silence_is_not_waited_out() {
    let head = format!("HTTP/1.1 {SSE}\r\n\r\n{}", delta("Half")).into_bytes();
    for (name, steps, options, stdout) in [
        (
            "before the answer",
            vec![Step::Hang],
            &["--idle-timeout", "1s"],
            "",
        ),
        (
            "in the answer",
            vec![Step::Write(head.clone()), Step::Hang],
            &["--idle-timeout", "1s"],
            "Half",
        ),
        (
            "overall",
            vec![Step::Write(head), Step::Hang],
            &["--timeout", "1s"],
            "Half",
        ),
    ] {
        let faulty = Faulty::start(steps);
        let run = ask(&faulty, options);
        assert_eq!(
            (run.exit, run.stdout.as_str()),
            (Some(4), stdout),
            "{name}: {}",
            run.stderr
        );
        assert_eq!(faulty.requests(), 1, "{name}: it may have run");
    }
}

#[test]
fn after_an_error_event_nothing_is_waited_for() {
    let error = "data: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"Sorry.\",\"param\":null}\n\n";
    let head = format!("HTTP/1.1 {SSE}\r\n\r\n{error}").into_bytes();
    let run = ask(&Faulty::start([Step::Write(head), Step::Hang]), &[]);
    assert_eq!(run.exit, Some(5), "{run}");
    assert!(run.stderr.contains("the response failed: Sorry."), "{run}");
}

#[test]
fn a_connection_that_cannot_be_made_is_exit_4() {
    // Bound and never listened on by anybody else, so nothing answers there.
    let nobody = McpCli::new(&[
        "ask",
        "--base-url",
        "http://127.0.0.1:1/v1",
        "--retries",
        "1",
        "Go",
    ])
    .env("OPENAI_API_KEY", KEY)
    .run();
    assert_eq!(nobody.exit, Some(4), "{nobody}");
    assert!(nobody.stderr.contains("trying again in 500ms"), "{nobody}");
    let plain = Faulty::start([Step::Write(b"HTTP/1.1 200 OK\r\n\r\n".to_vec())]);
    let tls = McpCli::new(&[
        "ask",
        "--retries",
        "0",
        "--base-url",
        &format!("https://{}/v1", plain.address),
        "Go",
    ])
    .env("OPENAI_API_KEY", KEY)
    .run();
    assert_eq!(tls.exit, Some(4), "{tls}");
    let gone = ask(&Faulty::start([Step::Reset]), &["--retries", "0"]);
    assert_eq!(gone.exit, Some(4), "{gone}");
}

#[test]
fn a_body_that_is_packed_is_not_unpacked_and_informal_answers_are_passed_over() {
    // Nothing was offered in `Accept-Encoding`, so a bomb stays as small as it came.
    let packed = Faulty::answering(
        &format!("{JSON}\r\ncontent-encoding: gzip"),
        b"\x1f\x8b\x08\x00bomb",
    );
    let run = ask(&packed, &[]);
    assert_eq!(run.exit, Some(5), "{run}");

    let informal = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(50);
    let answer = format!(
        "{informal}HTTP/1.1 {SSE}\r\nconnection: close\r\n\r\n{}{COMPLETED}",
        delta("Hello")
    );
    let run = ask(&Faulty::start([Step::Write(answer.into_bytes())]), &[]);
    assert_eq!(run.stdout, "Hello\n", "{run}");
}

#[test]
fn no_secret_is_in_any_output_however_much_is_logged() {
    let secrets = ["sk-canary-key", "canary-token", "canary-header"];
    let echoed = format!("{}{COMPLETED}", delta("Hello"));
    let refusal = "{\"error\":{\"message\":\"Error retrieving tool list from MCP server: 'a'. Http status code: 401 (Unauthorized)\"}}";
    for faulty in [
        Faulty::answering(SSE, &echoed),
        Faulty::answering(
            "424 Failed Dependency\r\ncontent-type: application/json",
            refusal,
        ),
        Faulty::answering("500 Oops", ""),
        Faulty::start([Step::Reset]),
        Faulty::answering(SSE, "data: nonsense\n\n"),
    ] {
        for options in [
            &["-vvv"][..],
            &["-vvv", "--json"],
            &["--print-request", "curl"],
        ] {
            let run = McpCli::new(&[
                "ask",
                "--base-url",
                &faulty.base_url(),
                "--retries",
                "0",
                "Go",
            ])
            .args(&[
                "--server-url",
                "https://a.example/mcp",
                "-H",
                "X-Key: canary-header",
            ])
            .args(options)
            .env("OPENAI_API_KEY", secrets[0])
            .env("MCP_AUTHORIZATION", secrets[1])
            .run();
            for secret in secrets {
                assert!(!run.stderr.contains(secret), "{secret} was logged: {run}");
                assert!(!run.stdout.contains(secret), "{secret} was printed: {run}");
            }
        }
    }
}

#[test]
fn a_certificate_is_believed_only_while_it_is_good() {
    let folder = tempfile::TempDir::new().unwrap();
    let roots = folder.path().join("roots.pem");
    let authority = Authority::new();
    std::fs::write(&roots, &authority.pem).unwrap();
    let now = time::OffsetDateTime::now_utc();
    let day = time::Duration::DAY;
    for (name, host, until, trusted, exit, words) in [
        ("good", "localhost", now + day, true, 0, ""),
        ("expired", "localhost", now - day, true, 4, "xpired"),
        (
            "of another host",
            "elsewhere.example",
            now + day,
            true,
            4,
            "not valid for name",
        ),
        (
            "of nobody who is known",
            "localhost",
            now + day,
            false,
            4,
            "UnknownIssuer",
        ),
    ] {
        let port = crate::support::tls_server(
            authority.issue(host, until),
            JSON,
            "{\"object\":\"response\",\"status\":\"completed\",\"output\":[]}",
        );
        let base_url = format!("https://localhost:{port}/v1");
        let mut cli = McpCli::new(&["ask", "--base-url", &base_url, "--retries", "0", "-q", "Go"])
            .env("OPENAI_API_KEY", KEY);
        if trusted {
            cli = cli.env("SSL_CERT_FILE", roots.to_str().unwrap());
        }
        let run = cli.run();
        assert_eq!(run.exit, Some(exit), "{name}: {run}");
        assert!(run.stderr.contains(words), "{name}: {run}");
    }
}

#[test]
fn a_version_of_tls_that_is_too_old_is_named() {
    let base_url = format!("https://127.0.0.1:{}/v1", crate::support::tls_1_0_server());
    let run = McpCli::new(&["ask", "--base-url", &base_url, "--retries", "0", "Go"])
        .env("OPENAI_API_KEY", KEY)
        .run();
    assert_eq!(run.exit, Some(4), "{run}");
    assert!(
        run.stderr.contains("ServerDoesNotSupportTls12Or13"),
        "{run}"
    );
}

#[test]
fn a_host_that_answers_nothing_at_all_is_given_up() {
    // With its queue full, Linux drops what knocks, as a firewall does.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let _queued: Vec<_> = (0..4)
        .map(|_| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)))
        .collect();
    let started = Instant::now();
    let run = McpCli::new(&[
        "ask",
        "--base-url",
        &format!("http://{address}/v1"),
        "--retries",
        "0",
        "--idle-timeout",
        "500ms",
        "Go",
    ])
    .env("OPENAI_API_KEY", KEY)
    .run();
    assert_eq!(run.exit, Some(4), "{run}");
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn a_proxy_is_used_for_what_is_far_and_ipv6_for_what_has_nothing_else() {
    let proxy = Faulty::answering(SSE, delta("Hello") + COMPLETED);
    let run = McpCli::new(&[
        "ask",
        "--base-url",
        "http://api.invalid/v1",
        "--retries",
        "0",
        "-q",
        "Go",
    ])
    .env("HTTP_PROXY", &format!("http://{}", proxy.address))
    .env("http_proxy", &format!("http://{}", proxy.address))
    .env("OPENAI_API_KEY", KEY)
    .run();
    assert_eq!(
        (run.stdout.as_str(), proxy.requests()),
        ("Hello\n", 1),
        "{run}"
    );

    let on_ipv6 = Faulty::on(
        "[::1]:0",
        [Step::Write(
            format!(
                "HTTP/1.1 {SSE}\r\nconnection: close\r\n\r\n{}{COMPLETED}",
                delta("Hello")
            )
            .into_bytes(),
        )],
    );
    assert_eq!(ask(&on_ipv6, &[]).stdout, "Hello\n");
}
