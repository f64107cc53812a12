use serde_json::json;

use super::*;

fn filled(question: &str, input_schema: &Value) -> Value {
    let tool = Tool {
        name: "do_it",
        description: None,
        input_schema,
        is_read_only: None,
    };
    match fill(question, &tool, &mut Work::new(100_000)) {
        Ok(arguments) => Value::Object(arguments),
        Err(Unfilled::Missing { name, kind }) => format!("{name} ({kind})").into(),
        Err(Unfilled::TooLarge) => "too large".into(),
    }
}

#[test]
fn each_kind_of_property_takes_what_is_of_its_kind() {
    for (question, property, expected) in [
        ("do it 5 times", json!({"type": "integer"}), json!(5)),
        (
            "do it 2.5 times or 2.0",
            json!({"type": "integer"}),
            json!(2),
        ),
        ("do it 2.5 times", json!({"type": "number"}), json!(2.5)),
        ("do it \"so\"", json!({"type": "string"}), json!("so")),
        ("x: so", json!({"type": "string"}), json!("so")),
        ("do x", json!({"type": "boolean"}), json!(true)),
        ("do it without x", json!({"type": "boolean"}), json!(false)),
        ("do it", json!({"type": "boolean"}), json!(false)),
        (
            "do it",
            json!({"type": "boolean", "default": true}),
            json!(true),
        ),
        ("do it", json!({"const": "fixed"}), json!("fixed")),
        ("do it", json!({"type": "integer", "default": 7}), json!(7)),
        (
            "make it bright red",
            json!({"enum": ["dark_blue", "bright_red"]}),
            json!("bright_red"),
        ),
        ("level 3", json!({"enum": [1, 2, 3]}), json!(3)),
        (
            "1, 2 and 3",
            json!({"type": "array", "items": {"type": "number"}}),
            json!([1, 2, 3]),
        ),
        (
            "\"a\" and \"b\"",
            json!({"type": "array", "items": {"type": "string"}}),
            json!(["a", "b"]),
        ),
        (
            "3 numbers, x: 1, 2 and 3",
            json!({"type": "array", "items": {"type": "number"}}),
            json!([1, 2, 3]),
        ),
        (
            "x=a,b",
            json!({"type": "array", "items": {"type": "string"}}),
            json!(["a", "b"]),
        ),
        (
            "1 2 3",
            json!({"type": "array", "items": {"type": "integer"}, "maxItems": 2}),
            json!([1, 2]),
        ),
        (
            "red and blue",
            json!({"type": "array", "items": {"enum": ["blue", "red", "green"]}}),
            json!(["red", "blue"]),
        ),
        (
            "do it 4",
            json!({"anyOf": [{"type": "null"}, {"type": "integer"}]}),
            json!(4),
        ),
        ("do it 4", json!({"type": ["null", "integer"]}), json!(4)),
        ("do it 4", json!({"$ref": "#/$defs/count"}), json!(4)),
        (
            "do it 4",
            json!({"allOf": [{"type": "integer"}, {"minimum": 1}]}),
            json!(4),
        ),
        (
            "do it 4 \"a\"",
            json!({"type": "object", "properties": {"n": {"type": "integer"}, "s": {"type": "string"}}, "required": ["n"]}),
            json!({"n": 4, "s": "a"}),
        ),
        (
            "see https://a.example/b?c=d",
            json!({"type": "string", "format": "uri"}),
            json!("https://a.example/b?c=d"),
        ),
    ] {
        let schema = json!({
            "type": "object", "properties": {"x": property}, "required": ["x"],
            "$defs": {"count": {"type": "integer"}},
        });
        assert_eq!(
            filled(question, &schema),
            json!({"x": expected}),
            "{question} for {property}"
        );
    }
}

#[test]
fn what_is_named_goes_where_it_is_named() {
    let schema = json!({"type": "object", "required": ["width", "height_px"], "properties": {
        "width": {"type": "integer"}, "height_px": {"type": "integer"}, "title": {"type": "string"}}});
    for question in [
        "height_px=2 width=1",
        "height px 2, width 1",
        "a height_px of... height_px: 2 and width = 1",
        "1 by 2",
    ] {
        assert_eq!(
            filled(question, &schema),
            json!({"width": 1, "height_px": 2}),
            "{question}"
        );
    }
    assert_eq!(
        filled("1 by 2, title \"Box\"", &schema),
        json!({"width": 1, "height_px": 2, "title": "Box"})
    );
}

#[test]
fn optional_properties_are_left_out_unless_something_is_left_over() {
    let schema = json!({"type": "object", "required": ["query"], "properties": {
        "query": {"type": "string"}, "limit": {"type": "integer"}, "strict": {"type": "boolean"},
        "page": {"type": "object", "properties": {"size": {"type": "integer"}}, "required": ["size"]}}});
    assert_eq!(filled("find \"x\"", &schema), json!({"query": "x"}));
    assert_eq!(
        filled("find \"x\", strict, 10", &schema),
        json!({"query": "x", "limit": 10, "strict": true})
    );
    assert_eq!(
        filled("why is it so?", &schema),
        json!({"query": "why is it so?"})
    );
}

#[test]
fn a_required_property_without_a_value_is_named() {
    let schema = json!({"type": "object", "required": ["at"], "properties": {
        "at": {"type": "object", "required": ["x"], "properties": {"x": {"type": "number"}}}}});
    assert_eq!(filled("do it", &schema), json!("at.x (number)"));
}

#[test]
fn a_schema_that_would_take_for_ever_is_too_large() {
    let options: Vec<String> = (0..100_000).map(|it| format!("option {it}")).collect();
    let text = "x".repeat(1_000_000);
    let large = json!({"type": "string", "default": text});
    let many: Map<String, Value> = (0..200)
        .map(|it| (format!("p{it}"), json!({"$ref": "#/$defs/large"})))
        .collect();
    let names: Vec<&String> = many.keys().collect();
    for (question, schema) in [
        (
            "word ".repeat(20_000),
            json!({"properties": {"x": {"enum": options}}, "required": ["x"]}),
        ),
        (
            "do it".to_owned(),
            json!({"properties": many, "required": names, "$defs": {"large": large}}),
        ),
    ] {
        assert_eq!(filled(&question, &schema), "too large");
    }
}
