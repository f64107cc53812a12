//! Refusals of requests whose body is not read: the client reads them, and not a reset.

use std::io::{Read, Write};

use crate::support::{McpCli, Serving};

const MIB: usize = 1024 * 1024;

/// Sends all of a body of `size` bytes before it reads. Returns the status, or what went wrong.
fn send(server: &Serving, head: &str, size: usize, is_chunked: bool) -> String {
    let length = if is_chunked {
        "transfer-encoding: chunked".to_owned()
    } else {
        format!("content-length: {size}")
    };
    let mut stream = server.connect();
    let head = head.replace('\n', "\r\n");
    write!(stream, "{head}\r\nhost: localhost\r\n{length}\r\n\r\n").unwrap();
    let chunk = vec![b'a'; 64 * 1024];
    for _ in 0..size / chunk.len() {
        let written = if is_chunked {
            write!(stream, "{:x}\r\n", chunk.len())
                .and_then(|()| stream.write_all(&chunk))
                .and_then(|()| stream.write_all(b"\r\n"))
        } else {
            stream.write_all(&chunk)
        };
        if let Err(error) = written {
            return error.to_string();
        }
    }
    let mut answer = [0; 12];
    match stream.read_exact(&mut answer) {
        Ok(()) => String::from_utf8_lossy(&answer[9..]).into_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_client_that_still_writes_its_body_reads_why_it_is_refused() {
    let serve = Serving::start(McpCli::new(&["serve", "-p", "0", "--auth"]));
    let gateway = Serving::start(McpCli::new(&["gateway", "-p", "0"]));
    const JSON: &str = "content-type: application/json";
    for (server, head, expected) in [
        (&serve, format!("POST /mcp HTTP/1.1\n{JSON}"), "401"),
        (&serve, format!("POST /nowhere HTTP/1.1\n{JSON}"), "404"),
        (
            &serve,
            "POST /mcp HTTP/1.1\norigin: http://a.example".to_owned(),
            "403",
        ),
        (
            &gateway,
            format!("POST /v1/responses HTTP/1.1\n{JSON}"),
            "401",
        ),
        (&gateway, "GET /healthz HTTP/1.1".to_owned(), "200"),
    ] {
        for is_chunked in [false, true] {
            for _ in 0..3 {
                let status = send(server, &head, 4 * MIB, is_chunked);
                let is_announced = !is_chunked && std::ptr::eq(server, &serve) && expected != "403";
                let expected = if is_announced { "413" } else { expected };
                assert_eq!(status, expected, "{head}, chunked: {is_chunked}");
            }
        }
    }
    let gateway = Serving::start(McpCli::new(&["gateway", "-p", "0", "--no-auth"]));
    let create = format!("POST /v1/responses HTTP/1.1\n{JSON}");
    for is_chunked in [false, true] {
        assert_eq!(send(&gateway, &create, 17 * MIB, is_chunked), "413");
    }
    let of_no_type = "POST /v1/responses HTTP/1.1\ncontent-type: text/plain";
    assert_eq!(send(&gateway, of_no_type, 4 * MIB, true), "415");
}

#[test]
fn a_client_that_asks_before_it_sends_is_refused_without_being_told_to_go_on() {
    let gateway = Serving::start(McpCli::new(&["gateway", "-p", "0"]));
    let reply = gateway.raw(
        b"POST /v1/responses HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
          content-length: 4000000\r\nexpect: 100-continue\r\n\r\n",
    );
    assert_eq!(
        (reply.status(), reply.was_closed),
        (401, true),
        "{}",
        reply.text
    );
}
