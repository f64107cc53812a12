//! `serve --tunnel`: the program that is started, what is printed, and what happens when it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::{Authority, McpCli, Serving, tls_server};

/// A folder with a program of that name.
fn program(name: &str, script: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// The search path with that folder in front.
fn path_with(folder: &Path) -> String {
    format!("{}:{}", folder.display(), std::env::var("PATH").unwrap())
}

#[test]
fn a_tunnel_needs_a_decision_who_may_call() {
    for flags in [&["--tunnel", "bore"][..], &["--tunnel", "openai"]] {
        let run = McpCli::new(&[&["serve", "-p", "0"], flags].concat()).run();
        assert_eq!(run.exit, Some(2), "{run}");
        assert!(run.stderr.contains("requires no token"), "{run}");
        assert!(run.stderr.contains("--no-auth"), "{run}");
    }
    let both = [
        "serve",
        "-p",
        "0",
        "--tunnel",
        "bore",
        "--auth",
        "--no-auth",
    ];
    assert_eq!(McpCli::new(&both).run().exit, Some(2));
}

#[test]
fn a_program_that_is_not_there_is_named_with_what_installs_it() {
    let empty = TempDir::new().unwrap();
    let run = McpCli::new(&["serve", "-p", "0", "--no-auth", "--tunnel", "localtunnel"])
        .env("PATH", empty.path().to_str().unwrap())
        .run();
    assert_eq!(run.exit, Some(1), "{run}");
    assert!(run.stderr.contains("`lt` could not be started"), "{run}");
    assert!(run.stderr.contains("npm install -g localtunnel"), "{run}");
}

#[test]
fn a_program_that_ends_without_an_address_is_told_with_its_last_words() {
    let folder = program("bore", "echo 'could not connect to bore.pub' >&2; exit 1");
    let run = McpCli::new(&["serve", "-p", "0", "--no-auth", "--tunnel", "bore"])
        .env("PATH", &path_with(folder.path()))
        .run();
    assert_eq!(run.exit, Some(4), "{run}");
    assert!(
        run.stderr.contains("could not connect to bore.pub"),
        "{run}"
    );
}

/// The program prints another address each time, which leads to the port that it was given; it ends when the
/// test says so.
#[test]
fn the_address_is_printed_allowed_and_checked_and_the_program_is_started_again() {
    let folder = program(
        "lt",
        r#"[ "$1" = --port ] || exit 9
echo $$ >> "$0.pids"
case $(wc -l < "$0.pids") in
  *1) echo "your url is: http://127.0.0.1:$2";;
  *) echo "your url is: https://second.example";;
esac
exec sleep 600"#,
    );
    let (mut child, _home) =
        McpCli::new(&["serve", "-p", "0", "--auth", "--tunnel", "localtunnel"])
            .env("PATH", &path_with(folder.path()))
            .spawn();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let mut lines = stderr.lines().map(Result::unwrap);
    let mut until = |part: &str| lines.find(|it| it.contains(part)).expect(part);
    let address = until("public address: http://127.0.0.1:");
    let url = address.split_whitespace().last().unwrap().to_owned();
    assert!(url.ends_with("/mcp"), "{url}");
    // 401 is of the server, 403 of the host.
    assert_eq!(status(&url, "second.example"), 403);
    until(&format!(
        "mcp-cli ask --server-url {url} --server-label dice_server --authorization @"
    ));
    until(&format!(
        r#""server_url": "{url}", "authorization": "TOKEN""#
    ));
    // With a token of its own, through the address.
    until("check: OpenAI would list 1 tool at");

    let pids = folder.path().join("lt.pids");
    let pid = std::fs::read_to_string(&pids).unwrap();
    let killed = std::process::Command::new("kill")
        .args(["-9", pid.trim()])
        .status()
        .unwrap();
    assert!(killed.success());
    until("the tunnel of `lt` ended");
    until("public address: https://second.example/mcp");
    assert_eq!(status(&url, "second.example"), 401);

    let id = child.id().to_string();
    std::process::Command::new("kill").arg(id).status().unwrap();
    child.wait().unwrap();
    let last = std::fs::read_to_string(&pids).unwrap();
    let last = format!("/proc/{}", last.lines().last().unwrap());
    let started = Instant::now();
    while Path::new(&last).exists() {
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "the program goes on"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The status that a request for this host gets.
fn status(url: &str, host: &str) -> u16 {
    let address = url
        .strip_prefix("http://")
        .unwrap()
        .split('/')
        .next()
        .unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn what_the_tunnel_of_openai_needs_is_asked_for_by_name() {
    let id = "tunnel_0123456789abcdef0123456789abcdef";
    for (flags, variables, part) in [
        (&[][..], &[][..], "the id of the tunnel is missing"),
        (&["--tunnel-id", "x"], &[], "is not the id of a tunnel"),
        (&["--tunnel-id", id], &[], "no key for the control plane"),
        (
            &["--tunnel-id", id],
            &[
                ("CONTROL_PLANE_API_KEY", "k"),
                ("CONTROL_PLANE_BASE_URL", "http://example.com"),
            ],
            "the key would be sent as text",
        ),
    ] {
        let flags = [
            &["serve", "-p", "0", "--no-auth", "--tunnel", "openai"],
            flags,
        ]
        .concat();
        let mut cli = McpCli::new(&flags);
        for (name, value) in variables {
            cli = cli.env(name, value);
        }
        let run = cli.run();
        assert_eq!(run.exit, Some(2), "{run}");
        assert!(run.stderr.contains(part), "{run}");
    }
}

/// A gateway with a key of its own, on this port; 0 is a free one.
fn gateway(folder: &Path, port: &str) -> Serving {
    let key = folder.join("key");
    std::fs::write(&key, "sk-test-123456").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let args = [
        "gateway",
        "-p",
        port,
        "--api-key-file",
        key.to_str().unwrap(),
    ];
    Serving::start(McpCli::new(&args))
}

#[test]
fn a_server_that_only_polls_is_called_by_its_tunnel_id_and_both_ends_may_be_started_again() {
    let folder = TempDir::new().unwrap();
    let first = gateway(folder.path(), "0");
    let authorization = "authorization: Bearer sk-test-123456";
    let made = first.send(
        &format!("POST /v1/tunnels HTTP/1.1\n{authorization}"),
        b"{}",
    );
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let refused = first.send("POST /v1/tunnels HTTP/1.1", b"{}");
    assert_eq!(refused.status(), 401);
    let base_url = first.url.clone();
    let ask = || {
        McpCli::new(&[
            "ask",
            "--base-url",
            &base_url,
            "--tunnel-id",
            &id,
            "--server-label",
            "dice",
        ])
        .args(&["--require-approval", "never", "Roll 2 dice"])
        .env("OPENAI_API_KEY", "sk-test-123456")
        .run()
    };
    let alone = ask();
    assert_eq!(alone.exit, Some(6), "{alone}");
    assert!(alone.stderr.contains("404"), "{alone}");
    assert!(
        alone.stderr.contains("a client polls the tunnel"),
        "{alone}"
    );

    let program = env!("CARGO_BIN_EXE_mcp-cli");
    let origin = format!("http://{}", first.address());
    let serve = || {
        let flags = [
            "serve",
            "-p",
            "0",
            "--no-auth",
            "--tunnel",
            "openai",
            "--tunnel-id",
            &id,
        ];
        let (mut child, home) = McpCli::new(&flags)
            .args(&["--", program, "serve", "-t", "stdio"])
            .env("CONTROL_PLANE_BASE_URL", &origin)
            .env("CONTROL_PLANE_API_KEY", "sk-test-123456")
            .spawn();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let mut lines = stderr.lines().map(Result::unwrap);
        lines
            .find(|it| it.contains("connected to the tunnel"))
            .unwrap();
        // It goes on writing, and a full pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        (child, home)
    };
    let (mut client, _home) = serve();
    let asked = ask();
    assert!(asked.stdout.starts_with("You rolled 2 dice"), "{asked}");

    // A gateway that was killed and started again knows the tunnel, and its client comes back.
    let port = first.address().rsplit(':').next().unwrap().to_owned();
    let mut first = first;
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    let _second = gateway(folder.path(), &port);
    let started = Instant::now();
    loop {
        let asked = ask();
        if asked.exit == Some(0) {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{asked}");
        std::thread::sleep(Duration::from_millis(100));
    }
    client.kill().unwrap();
    client.wait().unwrap();
    let (mut client, _home) = serve();
    let asked = ask();
    assert!(asked.stdout.starts_with("You rolled 2 dice"), "{asked}");
    client.kill().unwrap();
    client.wait().unwrap();
}

/// A proxy that leads every `CONNECT` to a port of this machine; returns its own.
fn proxy(to: u16) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            let head = String::from_utf8(head).unwrap();
            assert!(head.starts_with("CONNECT control.example:443 "), "{head}");
            let server = TcpStream::connect(("127.0.0.1", to)).unwrap();
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            for (mut from, mut to) in [
                (client.try_clone().unwrap(), server.try_clone().unwrap()),
                (server, client),
            ] {
                std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            }
        }
    });
    port
}

#[test]
fn a_control_plane_of_a_private_authority_is_polled_through_a_proxy() {
    let folder = TempDir::new().unwrap();
    let authority = Authority::new();
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, &authority.pem).unwrap();
    let later = time::OffsetDateTime::now_utc() + time::Duration::days(1);
    let issued = authority.issue("control.example", later);
    let proxy = proxy(tls_server(issued, "204 No Content", ""));
    for (is_trusted, told) in [
        (true, "connected to the tunnel"),
        (false, "could not be polled"),
    ] {
        let id = "tunnel_0123456789abcdef0123456789abcdef";
        let flags = ["serve", "-p", "0", "--no-auth", "--tunnel", "openai"];
        let mut serve = McpCli::new(&flags)
            .args(&["--tunnel-id", id])
            .env("CONTROL_PLANE_BASE_URL", "https://control.example")
            .env("CONTROL_PLANE_API_KEY", "sk-test-123456")
            .env("HTTPS_PROXY", &format!("http://127.0.0.1:{proxy}"));
        if is_trusted {
            serve = serve.env("SSL_CERT_FILE", roots.to_str().unwrap());
        }
        let (mut child, _home) = serve.spawn();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let mut lines = stderr.lines().map(Result::unwrap);
        let line =
            lines.find(|it| it.contains("connected to") || it.contains("could not be polled"));
        child.kill().unwrap();
        child.wait().unwrap();
        let line = line.unwrap();
        assert!(line.contains(told), "{line}");
        assert!(is_trusted || line.contains("certificate"), "{line}");
    }
}
