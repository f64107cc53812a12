use serde_json::json;

use super::*;

/// Tools of unlike servers: name, description, schema.
fn tools() -> Vec<(&'static str, &'static str, Value)> {
    let object = |properties: Value, required: Value| json!({"type": "object", "properties": properties, "required": required});
    vec![
        (
            "roll_dice",
            "Roll `n_dice` 6-sided dice and return the results.",
            object(json!({"n_dice": {"type": "integer"}}), json!(["n_dice"])),
        ),
        (
            "flip_coin",
            "Flip a coin a number of times.",
            object(
                json!({"times": {"type": "integer", "default": 1}}),
                json!([]),
            ),
        ),
        (
            "add",
            "Add two numbers.",
            object(
                json!({"a": {"type": "number"}, "b": {"type": "number"}}),
                json!(["a", "b"]),
            ),
        ),
        (
            "get_weather",
            "Current weather for a city.",
            object(
                json!({"city": {"type": "string"}, "units": {"enum": ["metric", "imperial"]}}),
                json!(["city"]),
            ),
        ),
        (
            "readFile",
            "Read a file from disk.",
            object(json!({"path": {"type": "string"}}), json!(["path"])),
        ),
        (
            "search-issues",
            "Search issues of a repository.",
            object(
                json!({"repo": {"type": "string"}, "query": {"type": "string"}, "limit": {"type": "integer"}}),
                json!(["query"]),
            ),
        ),
        (
            "send_email",
            "Send an email to somebody.",
            object(
                json!({"to": {"type": "string", "format": "email"}, "subject": {"type": "string"}, "body": {"type": "string"}}),
                json!(["to", "subject"]),
            ),
        ),
        (
            "translate",
            "Translate text into another language.",
            object(
                json!({"text": {"type": "string"}, "language": {"type": "string", "enum": ["French", "German"]}}),
                json!(["text", "language"]),
            ),
        ),
        (
            "greet",
            "Say hello to a person.",
            object(json!({"name": {"type": "string"}}), json!(["name"])),
        ),
        (
            "list_events",
            "List the events of the calendar on a date.",
            object(
                json!({"date": {"type": "string", "format": "date"}, "verbose": {"type": "boolean"}}),
                json!(["date"]),
            ),
        ),
    ]
}

fn planned(question: &str) -> Plan {
    let tools = tools();
    let tools: Vec<Tool<'_>> = tools
        .iter()
        .map(|(name, description, input_schema)| Tool {
            name,
            description: Some(description),
            input_schema,
            is_read_only: (*name == "roll_dice").then_some(true),
        })
        .collect();
    plan(question, &tools, false)
}

/// The calls, as `name {arguments}`.
fn calls(question: &str) -> Vec<String> {
    match planned(question) {
        Plan::Call(calls) => calls
            .iter()
            .map(|call| {
                let arguments = Value::Object(call.arguments.clone());
                format!("{} {arguments}", tools()[call.tool].0)
            })
            .collect(),
        Plan::Say(text) => vec![text],
    }
}

#[test]
fn a_question_calls_the_tool_that_its_words_name() {
    for (question, call) in [
        ("Roll a few dice!", r#"roll_dice {"n_dice":3}"#),
        ("Roll 5 dice", r#"roll_dice {"n_dice":5}"#),
        ("Roll 2d6", r#"roll_dice {"n_dice":2}"#),
        ("Please roll a die.", r#"roll_dice {"n_dice":1}"#),
        (
            "I'd like to be rolling twenty dice",
            r#"roll_dice {"n_dice":20}"#,
        ),
        ("Roll 1,000 dice", r#"roll_dice {"n_dice":1000}"#),
        ("roll_dice n_dice=7", r#"roll_dice {"n_dice":7}"#),
        ("Throw me six dice", r#"roll_dice {"n_dice":6}"#),
        ("Flip a coin", "flip_coin {}"),
        ("Flip a coin twice", r#"flip_coin {"times":2}"#),
        ("What is 2 plus 3? Add them", r#"add {"a":2,"b":3}"#),
        ("add 2.5 and -3", r#"add {"a":2.5,"b":-3}"#),
        (
            "What is the weather in Paris?",
            r#"get_weather {"city":"Paris"}"#,
        ),
        (
            "weather for New York in imperial units",
            r#"get_weather {"city":"New York","units":"imperial"}"#,
        ),
        (
            "Read the file src/main.rs",
            r#"readFile {"path":"src/main.rs"}"#,
        ),
        (
            "Search issues for \"panic on start\" in rust-lang/rust, limit 5",
            r#"search-issues {"query":"panic on start","repo":"rust-lang/rust","limit":5}"#,
        ),
        (
            "Send an email to ada@example.com with the subject 'Hello there'",
            r#"send_email {"to":"ada@example.com","subject":"Hello there"}"#,
        ),
        (
            "Translate \"good morning\" into german",
            r#"translate {"text":"good morning","language":"German"}"#,
        ),
        ("Greet Ada", r#"greet {"name":"Ada"}"#),
        ("greet ada", r#"greet {"name":"ada"}"#),
        ("Greet Ada Lovelace!", r#"greet {"name":"Ada Lovelace"}"#),
        (
            "List the events on 2026-11-22",
            r#"list_events {"date":"2026-11-22"}"#,
        ),
        (
            "List verbose events on 2026-11-22",
            r#"list_events {"date":"2026-11-22","verbose":true}"#,
        ),
    ] {
        assert_eq!(calls(question), [call], "{question}");
    }
}

#[test]
fn a_tool_that_may_change_something_is_called_only_if_its_action_is_asked_for() {
    let schema = json!({"type": "object"});
    let tool = |name: &'static str, description: &'static str| Tool {
        name,
        description: Some(description),
        input_schema: &schema,
        is_read_only: None,
    };
    let tools = [
        tool("add_page_break", "Add a page break to a docx of pages."),
        tool("update_issue", "Update an issue, resolved or unresolved."),
        tool("get_current_time", "Get the current time of a city."),
        tool("list_issues", "List the issues."),
    ];
    for (question, called) in [
        ("How many pages has r.docx?", None),
        ("Show the unresolved issues", Some("list_issues")),
        ("What's the time in London?", Some("get_current_time")),
        ("Add a page break", Some("add_page_break")),
        (
            "Please update the issue, and add a page break",
            Some("update_issue"),
        ),
        ("Don't add a page break", None),
        ("What does update_issue do?", Some("list_issues")),
    ] {
        let name = match plan(question, &tools, false) {
            Plan::Call(calls) => Some(tools[calls[0].tool].name),
            Plan::Say(_) => None,
        };
        assert_eq!(name, called, "{question}");
    }
    let Plan::Say(why) = plan("How many pages has r.docx?", &tools, false) else {
        panic!("it was called");
    };
    assert!(
        why.starts_with("I did not call `add_page_break`: it may change something"),
        "{why}"
    );
    let demanded = plan("How many pages has r.docx?", &tools, true);
    assert!(matches!(demanded, Plan::Call(calls) if calls[0].tool == 0));
}

#[test]
fn each_sentence_requests_its_own_action() {
    let schema =
        json!({"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]});
    let tools = [Tool {
        name: "delete_file",
        description: Some("Delete a file."),
        input_schema: &schema,
        is_read_only: None,
    }];
    for (question, paths) in [
        (
            "Delete the file a.txt. Delete the file b.txt",
            &["a.txt", "b.txt"][..],
        ),
        (
            "Delete the file a.txt. Under no circumstances delete the file b.txt",
            &["a.txt"],
        ),
        (
            "Delete the file a.txt. Tell me who should delete the file b.txt",
            &["a.txt"],
        ),
        ("I never open files, then delete the file b.txt", &[]),
    ] {
        let called = match plan(question, &tools, false) {
            Plan::Call(calls) => calls,
            Plan::Say(_) => Vec::new(),
        };
        let called: Vec<&Value> = called.iter().map(|it| &it.arguments["path"]).collect();
        assert_eq!(called, paths, "{question}");
    }
}

#[test]
fn what_a_server_says_of_a_tool_overrules_its_name() {
    let schema = json!({"type": "object"});
    for (is_read_only, is_called) in [(Some(false), false), (None, true), (Some(true), true)] {
        let tools = [Tool {
            name: "get_file",
            description: None,
            input_schema: &schema,
            is_read_only,
        }];
        let is_free = matches!(plan("What about the file?", &tools, false), Plan::Call(_));
        assert_eq!(is_free, is_called, "{is_read_only:?}");
        assert!(matches!(plan("Get the file", &tools, false), Plan::Call(_)));
    }
}

#[test]
fn clauses_that_name_a_tool_each_make_a_call_each() {
    for (question, expected) in [
        (
            "Roll 2 dice and flip 3 coins",
            &[r#"roll_dice {"n_dice":2}"#, r#"flip_coin {"times":3}"#][..],
        ),
        (
            "Roll 2 dice, then roll 2 dice",
            &[r#"roll_dice {"n_dice":2}"#, r#"roll_dice {"n_dice":2}"#],
        ),
        ("Add 2 and 3", &[r#"add {"a":2,"b":3}"#]),
        (
            "Hello! Roll 4 dice. Thank you.",
            &[r#"roll_dice {"n_dice":4}"#],
        ),
        ("Roll the dice. I want 5.", &[r#"roll_dice {"n_dice":5}"#]),
        ("Roll 3 dice. I like dice.", &[r#"roll_dice {"n_dice":3}"#]),
    ] {
        assert_eq!(calls(question), expected, "{question}");
    }
}

#[test]
fn what_cannot_be_done_is_said() {
    for (question, said) in [
        (
            "Roll dice",
            "I would call `roll_dice`, but the question does not say what its `n_dice` (integer) should be. Put the value in quotes, or write `n_dice=...`.",
        ),
        (
            "Translate this into French",
            "I would call `translate`, but the question does not say what its `text` (string) should be. Put the value in quotes, or write `text=...`.",
        ),
        (
            "Don't roll 3 dice!",
            "None of the tools I was given matches the words of the question. I can call `roll_dice`, `flip_coin`, `add`, `get_weather`, `readFile`, `search-issues`, `send_email`, `translate`, `greet`, `list_events`.",
        ),
        (
            "What is the capital of France?",
            "None of the tools I was given matches the words of the question. I can call `roll_dice`, `flip_coin`, `add`, `get_weather`, `readFile`, `search-issues`, `send_email`, `translate`, `greet`, `list_events`.",
        ),
    ] {
        assert_eq!(calls(question), [said], "{question}");
    }
    assert!(matches!(plan("Roll", &[], false), Plan::Say(text) if text.contains("no tools")));
}

#[test]
fn a_call_that_is_demanded_is_made_without_a_word_for_it() {
    let schema = json!({"type": "object"});
    let tools = [Tool {
        name: "ping",
        description: None,
        input_schema: &schema,
        is_read_only: None,
    }];
    assert!(matches!(plan("Hello", &tools, false), Plan::Say(_)));
    assert!(matches!(plan("Hello", &tools, true), Plan::Call(calls) if calls.len() == 1));
}

#[test]
fn no_question_and_no_schema_is_too_odd() {
    let schemas = [
        json!(true),
        json!(null),
        json!([1]),
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}),
        json!({"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}}),
        json!({"type": "object", "required": ["a", 7], "properties": {"a": true}}),
        json!({"anyOf": []}),
    ];
    for schema in &schemas {
        let tools = [Tool {
            name: "\u{1b}[31m\u{1f3b2}roll",
            description: Some("\u{0}"),
            input_schema: schema,
            is_read_only: None,
        }];
        for question in [
            "",
            " ",
            "roll",
            "roll \u{1f3b2}\u{202e}\"",
            "'roll` =:= \"",
            "a=\"1 roll",
        ] {
            let _ = plan(question, &tools, true);
        }
    }
}

#[test]
fn a_schema_that_refers_to_itself_everywhere_ends() {
    let properties: Map<String, Value> = (0..100)
        .map(|number| (format!("p{number}"), json!({"$ref": "#"})))
        .collect();
    let schema = json!({"type": "object", "properties": properties, "required": ["p1"]});
    let tools = [Tool {
        name: "roll",
        description: None,
        input_schema: &schema,
        is_read_only: None,
    }];
    let _ = plan("roll 3 dice", &tools, true);
}

#[test]
fn the_work_grows_linearly_with_the_question_and_the_tools() {
    let schema =
        json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    let names: Vec<String> = (0..10_000)
        .map(|number| format!("tool_{number}_roll"))
        .collect();
    let tools: Vec<Tool<'_>> = names
        .iter()
        .map(|name| Tool {
            name,
            description: Some("Roll something"),
            input_schema: &schema,
            is_read_only: Some(true),
        })
        .collect();
    // Quadratic work on either would take minutes.
    let question = "roll and 5 \"x\" then (a) = ".repeat(40_000);
    assert!(matches!(plan(&question, &tools[..1], false), Plan::Call(_)));
    assert!(
        matches!(plan("tool_77_roll 5", &tools, false), Plan::Call(calls) if calls[0].tool == 77)
    );
}
