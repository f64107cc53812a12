use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Error, Message, WebSocket};

use crate::support::{Desk, Gateway, McpCli, Serving, assert_is_event};

/// A WebSocket to a gateway, for one that has waited long enough if nothing comes for 5 s.
struct Socket(WebSocket<TcpStream>);

impl Socket {
    fn connect(serving: &Serving, headers: &[(&'static str, &str)]) -> Result<Self, u16> {
        let url = format!("ws://{}/v1/responses", serving.address());
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let stream = serving.connect();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(tungstenite::HandshakeError::Failure(Error::Http(response))) => {
                Err(response.status().as_u16())
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn to(gateway: &Gateway) -> Self {
        Self::connect(&gateway.serving, &[]).unwrap()
    }

    fn send(&mut self, frame: &Value) {
        self.0.send(Message::text(frame.to_string())).unwrap();
    }

    /// Asks for a response.
    fn create(&mut self, mut request: Value) {
        request["type"] = "response.create".into();
        self.send(&request);
    }

    fn next(&mut self) -> Value {
        loop {
            match self.0.read().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next event, as the API's schema says.
    fn event(&mut self) -> Value {
        let event = self.next();
        assert_is_event(&event);
        event
    }

    /// Reads on until an event of that type.
    fn until(&mut self, kind: &str) -> Value {
        loop {
            let event = self.event();
            if event["type"] == kind {
                return event;
            }
            assert_ne!(event["type"], "response.completed", "before {kind}");
        }
    }

    /// Reads on until the other side says good-bye.
    fn until_closed(&mut self) {
        loop {
            match self.0.read() {
                Ok(Message::Close(_)) | Err(Error::ConnectionClosed) => return,
                Ok(_) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The error frame that is next.
    fn error(&mut self) -> Value {
        let frame = self.next();
        assert_eq!(frame["type"], "error", "{frame}");
        frame
    }
}

fn ring(desk: &Desk) -> Value {
    json!({"input": "Ring the bell", "tools": [{"type": "mcp", "server_label": "desk",
           "server_url": desk.url, "require_approval": "never"}]})
}

#[test]
fn one_connection_has_many_responses_and_remembers_what_is_not_stored() {
    let desk = Desk::start();
    let gateway = Gateway::start(&[]);
    let mut socket = Socket::to(&gateway);
    let mut request = ring(&desk);
    request["store"] = false.into();
    socket.create(request.clone());
    let mut number = 0;
    let first = loop {
        let event = socket.event();
        assert_eq!(event["sequence_number"], number);
        number += 1;
        if event["type"] == "response.completed" {
            break event["response"].clone();
        }
    };
    assert_eq!(first["output"].as_array().unwrap().len(), 3);

    request["previous_response_id"] = first["id"].clone();
    socket.create(request.clone());
    let second = socket.until("response.completed");
    assert_eq!(second["response"]["output"][0]["type"], "mcp_call");

    // Nobody else knows of it.
    let mut other = Socket::to(&gateway);
    other.create(request);
    let refused = other.error();
    assert_eq!(refused["status"], 400);
    assert_eq!(refused["error"]["code"], "previous_response_not_found");
}

#[test]
fn lanes_go_side_by_side_and_the_requests_of_a_lane_one_after_the_other() {
    let desk = Desk::start();
    let gateway = Gateway::start(&[]);
    let mut socket = Socket::to(&gateway);
    desk.hold();
    let mut held = ring(&desk);
    held["stream_id"] = "a".into();
    socket.create(held);
    socket.create(json!({"input": "Second", "stream_id": "a"}));
    desk.wait_for_call();
    socket.create(json!({"input": "Beside", "stream_id": "b"}));
    let beside = loop {
        let event = socket.event();
        if event["stream_id"] == "b" && event["type"] == "response.completed" {
            break event;
        }
        assert!(
            event["stream_id"] == "b" || event["type"] != "response.completed",
            "{event}"
        );
    };
    assert_eq!(beside["response"]["output"].as_array().unwrap().len(), 1);
    assert_eq!(desk.called(), 1);
    desk.release();
    for outputs in [3, 1] {
        let completed = socket.until("response.completed");
        assert_eq!(completed["stream_id"], "a");
        assert_eq!(
            completed["response"]["output"].as_array().unwrap().len(),
            outputs
        );
    }
}

#[test]
fn lanes_are_counted_while_they_are_in_use() {
    let desk = Desk::start();
    let gateway = Gateway::start(&[]);
    let mut socket = Socket::to(&gateway);
    let lane = |number: usize| format!("lane {number}");
    // One after the other there may be any number.
    for number in 0..20 {
        socket.create(json!({"input": "Hi", "stream_id": lane(number)}));
        assert_eq!(
            socket.until("response.completed")["stream_id"],
            lane(number)
        );
    }
    desk.hold();
    for number in 0..17 {
        let mut held = ring(&desk);
        held["stream_id"] = lane(number).into();
        socket.create(held);
    }
    let refused = socket.until("error");
    assert_eq!(
        (&refused["status"], &refused["stream_id"]),
        (&json!(429), &json!(lane(16)))
    );
    desk.release();
    for _ in 0..16 {
        socket.until("response.completed");
    }
    socket.create(json!({"input": "Hi", "stream_id": lane(16)}));
    socket.until("response.completed");
}

#[test]
fn a_frame_that_is_none_is_told_so_and_the_connection_goes_on() {
    let gateway = Gateway::start(&[]);
    let mut socket = Socket::to(&gateway);
    for frame in [
        json!({"type": "response.brand_new"}),
        json!({"input": "Hi"}),
        json!([1]),
        json!({"type": "response.create", "input": 1}),
        json!({"type": "response.create", "input": "Hi", "background": true}),
        json!({"type": "response.create", "input": "Hi", "background": "yes"}),
        json!({"type": "response.create", "input": "Hi", "stream_id": 1}),
        json!({"type": "response.create", "input": "Hi", "conversation": "conv_1"}),
    ] {
        socket.send(&frame);
        let error = socket.error();
        assert_eq!(error["status"], 400, "{frame}: {error}");
        assert_eq!(
            error["error"]["type"], "invalid_request_error",
            "{frame}: {error}"
        );
    }
    socket.0.send(Message::binary(vec![1, 2, 3])).unwrap();
    socket.error();
    socket.create(json!({"input": "Hi", "stream": true}));
    socket.until("response.completed");
}

#[test]
fn a_client_that_closes_is_let_go_at_once_and_its_call_cancelled() {
    let desk = Desk::start();
    let gateway = Gateway::start(&[]);
    let mut socket = Socket::to(&gateway);
    desk.hold();
    socket.create(ring(&desk));
    desk.wait_for_call();
    socket.0.close(None).unwrap();
    socket.until_closed();
    desk.wait_for_leaving();
}

#[test]
fn a_page_and_whoever_has_no_key_get_no_connection() {
    let home = tempfile::TempDir::new().unwrap();
    let file = home.path().join("key.txt");
    std::fs::write(&file, "sk-of-the-house").unwrap();
    let args = [
        "gateway",
        "-p",
        "0",
        "--api-key-file",
        file.to_str().unwrap(),
    ];
    let serving = Serving::start(McpCli::new(&args));
    let key = ("authorization", "Bearer sk-of-the-house");
    for (headers, status) in [
        (&[][..], 401),
        (&[("authorization", "Bearer no")][..], 401),
        (&[key, ("origin", "https://evil.example")][..], 403),
        (&[key, ("host", "evil.example")][..], 403),
    ] {
        let refused = Socket::connect(&serving, headers).err();
        assert_eq!(refused, Some(status), "{headers:?}");
    }
    assert!(Socket::connect(&serving, &[key]).is_ok());
}

#[test]
fn a_gateway_that_stops_does_not_wait_for_open_connections() {
    let gateway = Gateway::start(&[]);
    let mut socket = Socket::to(&gateway);
    socket.create(json!({"input": "Hi"}));
    socket.until("response.completed");
    let began = std::time::Instant::now();
    let (exit, _) = gateway.serving.terminate();
    assert_eq!(exit, Some(0));
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_gateway_that_stops_tells_a_turn_to_its_end_and_says_good_bye() {
    let desk = Desk::start();
    let gateway = Gateway::start(&[]);
    let (mut busy, mut idle) = (Socket::to(&gateway), Socket::to(&gateway));
    desk.hold();
    busy.create(ring(&desk));
    desk.wait_for_call();
    gateway.serving.signal();
    // Where nothing is under way there is nothing to wait for.
    idle.until_closed();

    busy.create(json!({"input": "Hi", "stream_id": "late"}));
    assert_eq!(busy.until("error")["status"], 503);
    desk.release();
    let completed = busy.until("response.completed");
    assert_eq!(completed["response"]["output"][1]["output"], "Ding.");
    busy.until_closed();
    assert_eq!(gateway.serving.wait(), Some(0));
}
