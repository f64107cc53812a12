use serde_json::json;

use super::*;

fn tool(tool: Value) -> Tool {
    serde_json::from_value(tool).unwrap()
}

/// A tool that nothing can be said against.
fn good(name: &str) -> Value {
    json!({
        "name": name,
        "description": "Roll dice.",
        "inputSchema": {
            "type": "object",
            "properties": {"n_dice": {"type": "integer", "description": "How many"}},
            "required": ["n_dice"],
            "additionalProperties": false,
        },
        "annotations": {"readOnlyHint": false, "destructiveHint": false, "openWorldHint": false},
    })
}

fn entry(entry: Value) -> MCPTool {
    let mut entry = entry;
    entry["server_label"] = json!("dice");
    serde_json::from_value(entry).unwrap()
}

/// What the rule `id` makes of these tools: a word, and what it says.
fn said(tools: &[Value], entry_of: Value, id: &str) -> (&'static str, String) {
    let tools: Vec<Tool> = tools.iter().cloned().map(tool).collect();
    let steps = lint("dice", &tools, &entry(entry_of));
    let step = steps.into_iter().find(|step| step.id == id).unwrap();
    match step.outcome {
        Outcome::Pass(note) => ("pass", note.unwrap_or_default()),
        Outcome::Warn(complaint) => ("warn", complaint.cause),
        Outcome::Fail(complaint) => ("fail", complaint.cause),
        Outcome::Skip(why) => ("skip", why),
    }
}

/// The same with one tool, of which `member` is another one.
fn said_of(member: &str, value: Value, id: &str) -> (&'static str, String) {
    let mut tool = good("roll");
    tool[member] = value;
    said(&[tool], json!({}), id)
}

#[test]
fn a_good_tool_passes_every_rule() {
    let steps = lint("dice", &[tool(good("roll"))], &entry(json!({})));
    for step in &steps {
        assert!(matches!(step.outcome, Outcome::Pass(_)), "{step:?}");
    }
    let ids: BTreeSet<&str> = steps.iter().map(|step| step.id).collect();
    assert_eq!(ids.len(), steps.len());
}

#[test]
fn names_that_no_function_can_have_are_named() {
    for (name, expected) in [
        ("roll_dice-2", "pass"),
        ("", "warn"),
        ("dice.roll", "warn"),
        ("w\u{fc}rfeln", "warn"),
        (&*"a".repeat(64), "pass"),
        (&*"a".repeat(65), "warn"),
        (&*"a".repeat(129), "warn"),
    ] {
        let (word, cause) = said(&[good(name)], json!({}), "lint_names");
        assert_eq!(word, expected, "{name}: {cause}");
    }
    let (_, cause) = said(
        &[good("a.b"), good(&"c".repeat(65))],
        json!({}),
        "lint_names",
    );
    insta::assert_snapshot!(cause, @"names outside `^[a-zA-Z0-9_-]{1,128}$`, which OpenAI refuses as those of functions: `a.b`; names longer than the 64 characters that other endpoints take: `ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc`");
}

#[test]
fn many_tools_with_one_fault_are_counted() {
    let tools: Vec<Value> = (0..9).map(|it| good(&format!("no {it}"))).collect();
    let (_, cause) = said(&tools, json!({}), "lint_names");
    assert!(
        cause.ends_with("`no 0`, `no 1`, `no 2`, `no 3`, `no 4` and 4 more"),
        "{cause}"
    );
}

#[test]
fn a_name_that_is_there_twice_fails() {
    let tools = [good("roll"), good("peek"), good("roll"), good("roll")];
    assert_eq!(
        said(&tools, json!({}), "lint_duplicates"),
        (
            "fail",
            "`dice` lists more than one tool of the name `roll`".to_owned()
        )
    );
}

#[test]
fn a_name_of_two_servers_is_a_warning() {
    let (a, b) = (
        [tool(good("roll")), tool(good("peek"))],
        [tool(good("roll"))],
    );
    let Outcome::Warn(complaint) = across(&[("a", &a), ("b", &b)]).outcome else {
        panic!("not a warning");
    };
    assert!(
        complaint.cause.ends_with(": `roll` of `a`, `b`"),
        "{complaint:?}"
    );
    // A list that names it twice is another rule's.
    let twice = [tool(good("roll")), tool(good("roll"))];
    assert!(matches!(across(&[("a", &twice)]).outcome, Outcome::Pass(_)));
}

#[test]
fn security_schemes_are_an_array_or_nothing() {
    let id = "lint_security_schemes";
    for (meta, expected) in [
        (json!({}), "pass"),
        (json!({"securitySchemes": [{"type": "oauth2"}]}), "pass"),
        (json!({"securitySchemes": null}), "pass"),
        (json!({"securitySchemes": {"type": "oauth2"}}), "fail"),
        (json!({"securitySchemes": "oauth2"}), "fail"),
    ] {
        let (word, cause) = said_of("_meta", meta.clone(), id);
        assert_eq!(word, expected, "{meta}: {cause}");
    }
}

#[test]
fn a_schema_that_is_no_object_with_properties_is_a_warning() {
    for (schema, expected) in [
        (json!({"type": "object", "properties": {}}), None),
        (json!({"type": "object"}), Some("`roll` (no `properties`)")),
        (
            json!({}),
            Some("`roll` (`type` is not `object`, no `properties`)"),
        ),
        (
            json!({"type": "array", "properties": {}, "items": {}}),
            Some("`roll` (`type` is not `object`)"),
        ),
        (
            json!({"type": "object", "properties": {"tags": {"type": ["array", "null"]}}}),
            Some("`roll` (an array without `items` at `/properties/tags`)"),
        ),
        (
            json!({"type": "object", "properties": {"a": {"properties": {"b": "text"}}}}),
            Some("`roll` (a property that is not a schema at `/properties/a/properties/b`)"),
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "array", "prefixItems": [true]}, "b": true}}),
            None,
        ),
    ] {
        let (word, cause) = said_of("inputSchema", schema.clone(), "lint_schemas");
        assert_eq!(word == "warn", expected.is_some(), "{schema}");
        assert!(cause.ends_with(expected.unwrap_or_default()), "{cause}");
    }
}

#[test]
fn what_strict_mode_refuses_is_found_where_it_is() {
    let schema = json!({
        "type": "object",
        "properties": {
            "uri": {"type": "string", "format": "uri"},
            "when": {"type": ["string", "null"], "format": "date-time"},
            "a/b": {"items": {"oneOf": [{"type": "object"}, {"type": "null"}]}},
        },
        "required": ["uri", "a/b"],
        "additionalProperties": false,
    });
    let (word, cause) = said_of("inputSchema", schema, "lint_strict");
    assert_eq!(word, "warn");
    insta::assert_snapshot!(cause, @"strict mode refuses `roll` (the optional `when`, the `format` `uri` at `/properties/uri`, `oneOf` at `/properties/a~1b/items`, `additionalProperties` that is not `false` at `/properties/a~1b/items/oneOf/0`)");
}

#[test]
fn what_only_looks_like_a_keyword_is_none() {
    let schema = json!({
        "type": "object",
        "properties": {
            "not": {"type": "string", "default": {"oneOf": [], "$ref": "https://example.com"}},
            "format": {"type": "string", "enum": ["allOf"]},
            "$ref": {"type": "string"},
        },
        "required": ["not", "format", "$ref"],
        "additionalProperties": false,
    });
    for id in ["lint_strict", "lint_refs"] {
        let (word, cause) = said_of("inputSchema", schema.clone(), id);
        assert_eq!(word, "pass", "{cause}");
    }
}

#[test]
fn a_reference_that_leads_out_or_nowhere_is_a_warning() {
    for (target, expected) in [
        ("#/$defs/die", "pass"),
        ("#die", "pass"),
        ("#/$defs/a%20b", "pass"),
        ("#/$defs/lost", "warn"),
        ("https://example.com/die.json", "warn"),
        ("die.json#/die", "warn"),
    ] {
        let schema = json!({
            "type": "object",
            "properties": {"die": {"$ref": target}},
            "$defs": {"die": {"$anchor": "die"}},
        });
        let (word, cause) = said_of("inputSchema", schema, "lint_refs");
        assert_eq!(word, expected, "{target}: {cause}");
        assert_eq!(cause.contains(target), expected == "warn", "{cause}");
    }
}

#[test]
fn a_recursive_schema_passes_and_is_told_of() {
    for (target, is_recursive) in [("#", true), ("#/$defs/tree", true), ("#/$defs/tr", false)] {
        let schema = json!({
            "type": "object",
            "properties": {},
            "$defs": {"tr": {}, "tree": {"properties": {"child": {"$ref": target}}}},
        });
        let (word, note) = said_of("inputSchema", schema, "lint_refs");
        assert_eq!(word, "pass");
        assert_eq!(note.contains("`roll`"), is_recursive, "{target}: {note}");
    }
}

#[test]
fn what_is_not_described_is_named() {
    for description in [json!(null), json!(" \n")] {
        let (word, cause) = said_of("description", description, "lint_descriptions");
        assert_eq!(word, "warn");
        assert!(cause.ends_with(": `roll`"), "{cause}");
    }
    let schema = json!({"properties": {"n": {}, "odd": true, "told": {"description": "d"}}});
    let (word, cause) = said_of("inputSchema", schema, "lint_parameter_descriptions");
    assert_eq!(word, "warn");
    assert!(cause.ends_with(": `roll` (`n`, `odd`)"), "{cause}");
}

#[test]
fn a_tool_that_does_not_say_whether_it_only_reads_is_named() {
    for (annotations, expected) in [
        (json!(null), "warn"),
        (json!({"destructiveHint": false}), "warn"),
        (json!({"readOnlyHint": true}), "pass"),
    ] {
        let (word, _) = said_of("annotations", annotations.clone(), "lint_read_only_hints");
        assert_eq!(word, expected, "{annotations}");
    }
}

#[test]
fn a_hint_that_a_review_asks_for_is_named_and_a_task_that_is_demanded() {
    for (annotations, cause) in [
        (json!({"readOnlyHint": true, "openWorldHint": true}), ""),
        (json!({"readOnlyHint": true}), "`roll` (`openWorldHint`)"),
        (json!({"destructiveHint": true}), "`roll` (`openWorldHint`)"),
        (json!(null), "`roll` (`destructiveHint`, `openWorldHint`)"),
    ] {
        let (_, said) = said_of("annotations", annotations.clone(), "lint_hints");
        assert!(said.ends_with(cause), "{annotations}: {said}");
        assert_eq!(said.is_empty(), cause.is_empty(), "{said}");
    }
    for (support, expected) in [("required", "warn"), ("optional", "pass")] {
        let (word, _) = said_of("execution", json!({"taskSupport": support}), "lint_tasks");
        assert_eq!(word, expected);
    }
}

#[test]
fn the_size_is_estimated_and_what_would_save_is_named() {
    let mut tools: Vec<Value> = ["a", "b", "c", "d"].map(good).to_vec();
    assert_eq!(
        said(&tools[..1], json!({}), "lint_size"),
        (
            "pass",
            "1 tool of `dice`, about 37 tokens (an estimate: four bytes a token)".to_owned()
        )
    );

    for (tool, tokens) in tools.iter_mut().zip([9_000, 8_000, 7_000]) {
        tool["description"] = json!("word".repeat(tokens));
    }
    let (word, cause) = said(&tools, json!({}), "lint_size");
    assert_eq!(word, "warn");
    insta::assert_snapshot!(cause, @"4 tools of `dice`, about 24142 tokens (an estimate: four bytes a token); the largest are `a` 9035, `b` 8035, `c` 7035");

    let (word, note) = said(&tools, json!({"allowed_tools": ["c", "d"]}), "lint_size");
    assert_eq!(word, "pass");
    insta::assert_snapshot!(note, @"2 tools of `dice`, about 7072 tokens (an estimate: four bytes a token); `allowed_tools` leaves out 2 and saves about 17070");

    let (word, note) = said(&tools, json!({"defer_loading": true}), "lint_size");
    assert_eq!(word, "pass");
    assert!(note.contains("`defer_loading` keeps them"), "{note}");
}

#[test]
fn too_many_tools_are_a_warning_and_so_are_none() {
    let tools: Vec<Value> = (0..129).map(|it| good(&format!("t{it}"))).collect();
    assert_eq!(said(&tools, json!({}), "lint_size").0, "warn");
    assert_eq!(said(&tools[1..], json!({}), "lint_size").0, "pass");
    for (tools, allowed_tools, cause) in [
        (&tools[..0], json!(null), "`dice` lists no tools"),
        (
            &tools[..2],
            json!(["roll"]),
            "`allowed_tools` leaves nothing of the 2 tools of `dice`",
        ),
    ] {
        assert_eq!(
            said(tools, json!({"allowed_tools": allowed_tools}), "lint_size"),
            ("warn", cause.to_owned())
        );
    }
}

#[test]
fn a_schema_made_to_be_slow_is_not() {
    let started = std::time::Instant::now();
    let name = "n".repeat(1_000_000);
    let wide: serde_json::Map<String, Value> = (0..50_000)
        .map(|it| (format!("p{it}"), json!({"$ref": "#/x", "type": "object"})))
        .collect();
    let required: Vec<&String> = wide.keys().collect();
    let schema = json!({
        "type": "object",
        "properties": {name: {"properties": wide, "required": required}},
    });
    let tools = [tool(json!({"name": "slow", "inputSchema": schema}))];
    for step in lint("dice", &tools, &entry(json!({}))) {
        let said = format!("{step:?}");
        assert!(said.len() < 4_000, "{}: {} bytes", step.id, said.len());
    }
    assert!(started.elapsed().as_secs() < 20);
}
