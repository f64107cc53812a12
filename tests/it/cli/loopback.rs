//! What stays on this machine: no proxy sees it, and no client elsewhere reaches it.

use std::io::Write;

use serde_json::json;

use crate::support::{Faulty, Mcp, McpCli, Serving, dice_server};

const REDIRECT: &str = "307 Temporary Redirect";

fn list_through(proxy: &Faulty, url: &str) -> crate::support::Run {
    let proxy = format!("http://{}", proxy.address);
    McpCli::new(&["tools", "list", "--server-url", url])
        .args(&["--authorization", "canary"])
        .env("HTTP_PROXY", &proxy)
        .env("http_proxy", &proxy)
        .env("ALL_PROXY", &proxy)
        .run()
}

#[test]
fn a_proxy_sees_nothing_of_what_is_on_this_machine_however_it_is_spelt() {
    let server = dice_server();
    let proxy = Faulty::answering("502 Bad Gateway", "");
    let port = server.url.rsplit(':').next().unwrap();
    for host in [
        "LOCALHOST",
        "localhost.",
        "127.1",
        "2130706433",
        "0x7f.1",
        "127.0.0.2",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "0.0.0.0",
        "dice.localhost",
    ] {
        let run = list_through(&proxy, &format!("http://{host}:{port}"));
        assert_eq!(proxy.requests(), 0, "{host}: {run}");
    }
}

#[test]
fn no_redirect_leads_from_this_machine_to_a_proxy_or_back() {
    let near = Mcp::start(|_| None);
    // From this machine to elsewhere: the proxy does not see it.
    let away = Faulty::answering(
        &format!("{REDIRECT}\r\nlocation: http://a.example/mcp\r\ncontent-length: 0"),
        "",
    );
    let proxy = Faulty::answering("502 Bad Gateway", "");
    let run = list_through(&proxy, &format!("http://{}/mcp", away.address));
    assert_eq!((run.exit, proxy.requests()), (Some(6), 0), "{run}");
    // From behind a proxy to this machine: our server does not see it, and the proxy no more of it.
    let proxy = Faulty::answering(
        &format!("{REDIRECT}\r\nlocation: {}\r\ncontent-length: 0", near.url),
        "",
    );
    let run = list_through(&proxy, "http://a.example/mcp");
    assert_eq!(run.exit, Some(6), "{run}");
    assert!(proxy.requests() > 0, "{run}");
    assert!(near.asked("initialize").is_empty(), "{run}");
    assert!(near.asked("server/discover").is_empty(), "{run}");
}

#[test]
fn clients_of_a_gateway_beyond_loopback_do_not_reach_this_machine_through_it() {
    let server = dice_server();
    let mut key = tempfile::NamedTempFile::new().unwrap();
    key.write_all(b"sk-test").unwrap();
    let key = key.path().to_str().unwrap();
    for (host, flags, status) in [
        ("0.0.0.0", &[][..], 424),
        ("0.0.0.0", &["--allow-loopback"][..], 200),
        ("127.0.0.1", &[][..], 200),
    ] {
        let gateway = Serving::start(
            McpCli::new(&["gateway", "-p", "0", "--host", host, "--api-key-file", key]).args(flags),
        );
        for url in [
            server.url.clone(),
            server.url.replace("127.0.0.1", "localhost"),
        ] {
            let tool = json!({"type": "mcp", "server_label": "dice", "server_url": url,
                              "require_approval": "never"});
            let ask = |stream: bool| {
                let body = json!({"input": "Roll 2 dice", "tools": [tool], "stream": stream});
                let head = "POST /v1/responses HTTP/1.1\ncontent-type: application/json\nauthorization: Bearer sk-test";
                gateway.send(head, body.to_string().as_bytes())
            };
            let reply = ask(false);
            assert_eq!(reply.status(), status, "{host} {flags:?}: {}", reply.text);
            let names_the_flag = ask(true).text.contains("only with --allow-loopback");
            assert_eq!(names_the_flag, status == 424, "{host} {flags:?}");
        }
        let (_, log) = gateway.terminate();
        assert_eq!(log.contains("--allow-loopback"), status == 424, "{log}");
    }
}
