use serde_json::{Map, Value, json};

use super::*;

fn server(entry: Value) -> Result<Server, Error> {
    let mut entry = entry;
    entry["server_label"] = json!("dice");
    Server::read(
        &serde_json::from_value(entry).unwrap(),
        &HashMap::new(),
        None,
    )
}

fn tool(name: &str, read_only: bool) -> McpListToolsTool {
    McpListToolsTool {
        annotations: json!({"read_only": read_only}),
        description: None,
        input_schema: json!({}),
        name: name.to_owned(),
        is_annotated_as_acting: false,
        rest: Map::new(),
    }
}

#[test]
fn a_tool_is_annotated_as_acting_only_if_its_server_says_so() {
    for (annotations, says) in [
        (json!(null), None),
        (json!({"title": "Get"}), None),
        (json!({"destructiveHint": false}), None),
        (json!({"readOnlyHint": false}), Some(false)),
        (json!({"destructiveHint": true}), Some(false)),
        (json!({"readOnlyHint": true}), Some(true)),
    ] {
        let tool = json!({"name": "get", "inputSchema": {}, "annotations": annotations});
        let listed = listed(serde_json::from_value(tool).unwrap());
        assert_eq!(listed.says_read_only(), says, "{annotations}");
        let shown = json!({"read_only": says == Some(true)});
        assert_eq!(json!(listed)["annotations"], shown);
        assert_eq!(json!(listed).as_object().unwrap().len(), 3);
    }
}

#[test]
fn allowed_tools_names_tools_or_what_they_do() {
    for (allowed_tools, roll, peek) in [
        (json!(null), true, true),
        (json!([]), false, false),
        (json!(["roll"]), true, false),
        (json!({"read_only": true}), false, true),
        (
            json!({"tool_names": ["roll"], "read_only": true}),
            false,
            false,
        ),
    ] {
        let server = server(json!({"server_url": "http://a/", "allowed_tools": allowed_tools}));
        let server = server.unwrap();
        assert_eq!(server.allows(&tool("roll", false)), roll, "{allowed_tools}");
        assert_eq!(server.allows(&tool("peek", true)), peek, "{allowed_tools}");
    }
}

#[test]
fn a_call_needs_approval_unless_it_is_said_that_it_does_not() {
    for (require_approval, roll, peek) in [
        (json!(null), true, true),
        (json!("always"), true, true),
        (json!("never"), false, false),
        (json!({"never": {"tool_names": ["roll"]}}), false, true),
        (json!({"never": {"read_only": true}}), true, false),
        (json!({"always": {"tool_names": ["roll"]}}), true, true),
        (
            json!({"always": {"tool_names": ["roll"]}, "never": {"tool_names": ["roll", "peek"]}}),
            true,
            false,
        ),
        (json!({"never": {}}), true, true),
    ] {
        let server =
            server(json!({"server_url": "http://a/", "require_approval": require_approval}));
        let server = server.unwrap();
        assert_eq!(
            server.needs_approval(&tool("roll", false)),
            roll,
            "{require_approval}"
        );
        assert_eq!(
            server.needs_approval(&tool("peek", true)),
            peek,
            "{require_approval}"
        );
    }
}

#[test]
fn a_reserved_header_is_refused_by_its_name_and_no_value_is_repeated() {
    for (headers, message) in [
        (
            json!({"Accept": "canary"}),
            "The 'headers' of MCP server 'dice' set Accept, which the MCP client sets itself: leave it out.",
        ),
        (
            json!({"X-Key": "canary\n"}),
            "The 'headers' of MCP server 'dice' have a value of X-Key that no HTTP header can carry.",
        ),
        (
            json!({"X-Key: canary": ""}),
            "The 'headers' of MCP server 'dice' have a name that no HTTP header can have.",
        ),
    ] {
        let entry = json!({"server_url": "http://a/", "headers": headers});
        let refused = server(entry).err().unwrap();
        assert_eq!(refused.to_string(), message);
    }
}

#[test]
fn an_entry_that_cannot_be_served_is_refused() {
    for entry in [
        json!({}),
        json!({"connector_id": "connector_gmail"}),
        json!({"server_url": "ftp://example.com/mcp"}),
        json!({"server_url": "not a url"}),
        json!({"server_url": "http://a/", "headers": {"bad name": "x"}}),
        json!({"server_url": "http://a/", "headers": {"X": "line\nbreak"}}),
        json!({"server_url": "http://a/", "headers": {"X": 1}}),
        json!({"server_url": "http://a/", "headers": {"content-length": "3"}}),
        json!({"server_url": "http://a/", "headers": {"Transfer-Encoding": "chunked"}}),
        json!({"server_url": "http://a/", "headers": "X: y"}),
        json!({"server_url": "http://a/", "authorization": "line\nbreak"}),
        json!({"server_url": "http://a/", "authorization": "a".repeat(70_000)}),
        json!({"server_url": "http://a/", "headers": {"X": "a".repeat(70_000)}}),
        json!({"server_url": format!("http://a/{}", "a".repeat(70_000))}),
        json!({"server_url": "http://a/", "authorization": "a", "headers": {"authorization": "b"}}),
    ] {
        assert!(server(entry.clone()).is_err(), "{entry} was accepted");
    }
}

#[test]
fn a_token_is_sent_as_a_bearer_token_and_beside_no_other_credentials() {
    let entry = json!({"server_url": "http://a/", "authorization": "secret-1"});
    let sent = server(entry).unwrap().as_mcp().credential.clone();
    let value = sent.authorization().unwrap();
    assert_eq!(value, "Bearer secret-1");
    assert!(value.is_sensitive());
    let refused = |entry: Value| server(entry).err().unwrap().to_string();
    let twice = json!({"server_url": "http://a/", "authorization": "a",
        "headers": {"AUTHORIZATION": "Bearer b"}});
    assert!(refused(twice).ends_with("leave one of them out."));
    let unusable = json!({"server_url": "http://a/", "authorization": "a\nb"});
    assert!(refused(unusable).ends_with("cannot be sent in an HTTP header."));
}

#[test]
fn an_entry_adds_at_most_64_kib_to_a_request() {
    let entry =
        |length: usize| json!({"server_url": "http://a/", "authorization": "x".repeat(length)});
    let rest = "http://a/".len();
    assert!(server(entry(64 * 1024 - rest)).is_ok());
    let refused = server(entry(64 * 1024 - rest + 1)).err().unwrap();
    assert!(
        refused
            .to_string()
            .ends_with("more than 65536 bytes together.")
    );
    let headers = json!({"server_url": "http://a/", "headers": {"X-Key": "x".repeat(64 * 1024)}});
    assert!(server(headers).is_err());
}

#[test]
fn a_server_has_its_label_and_the_place_that_an_approval_is_for() {
    let at_url = server(json!({"server_url": "http://a/x"})).unwrap();
    assert_eq!((at_url.label(), &*at_url.place()), ("dice", "http://a/x"));
    let command = mcp::Command {
        program: "node".to_owned(),
        arguments: vec!["server.mjs".to_owned()],
        ..mcp::Command::default()
    };
    let entry = serde_json::from_value(json!({"server_label": "files"})).unwrap();
    let commands = HashMap::from([("files".to_owned(), command)]);
    let started = Server::read(&entry, &commands, None).unwrap();
    assert_eq!(started.place(), r#"["node",["server.mjs"]]"#);
}

#[test]
fn a_tunnel_is_of_this_process_and_has_an_id_of_the_right_form() {
    let read = |id: &str, tunnels: Option<&Router>| {
        let entry = json!({"server_label": "dice", "tunnel_id": id});
        let entry = serde_json::from_value(entry).unwrap();
        let read = Server::read(&entry, &HashMap::new(), tunnels);
        read.map(|it| it.place()).map_err(|why| why.to_string())
    };
    let id = "tunnel_0123456789abcdefghijklmnopqrstuv";
    let tunnels = Router::new();
    assert_eq!(read(id, Some(&tunnels)).unwrap(), id);
    assert_eq!(
        read(id, None).unwrap_err(),
        "MCP server 'dice' has no 'server_url'; connectors and tunnels exist at OpenAI only."
    );
    for other in [
        "",
        "tunnel_",
        &id[1..],
        &id.to_uppercase(),
        &format!("{id}w"),
        "tunnel_/../../v1/models/aaaaaaaaaaaaaa",
    ] {
        assert_eq!(
            read(other, Some(&tunnels)).unwrap_err(),
            "The 'tunnel_id' of MCP server 'dice' is not the id of a tunnel.",
            "{other}"
        );
    }
}
