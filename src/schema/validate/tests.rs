use serde_json::json;

use super::*;

fn checked(schema: &Value, instance: &Value) -> Checked {
    let object = |it: &Value| it.as_object().unwrap().clone();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let schema = object(schema);
    let validation = validate(object(instance), &schema);
    let runtime = runtime.enable_time().build().unwrap();
    runtime.block_on(validation)
}

/// `count` references at each of `depth` levels, and an integer in the end.
fn bomb(keyword: &str, reference: impl Fn(usize) -> String, count: usize, depth: usize) -> Value {
    let mut defs = Map::new();
    for number in 0..depth {
        let parts = vec![json!({"$ref": reference(number + 1)}); count];
        defs.insert(
            format!("d{number}"),
            json!({keyword: parts, "$anchor": format!("d{number}")}),
        );
    }
    defs.insert(
        format!("d{depth}"),
        json!({"type": "integer", "$anchor": format!("d{depth}")}),
    );
    json!({"properties": {"a": {"$ref": reference(0)}}, "$defs": defs})
}

#[test]
fn a_schema_that_stands_for_millions_is_not_evaluated() {
    for keyword in ["allOf", "anyOf", "oneOf"] {
        for reference in ["#/$defs/d", "#d"] {
            let bomb = bomb(keyword, |level| format!("{reference}{level}"), 60, 4);
            let why = Uncountable::TooMany.to_string();
            assert_eq!(
                checked(&bomb, &json!({"a": 1})),
                Checked::NotChecked(why),
                "{reference}"
            );
            // Where nothing is to be evaluated, it does no harm.
            assert_eq!(checked(&bomb, &json!({"b": 1})), Checked::Fits);
        }
    }
}

#[test]
fn a_schema_that_doubles_with_each_level_of_the_value_is_not_evaluated() {
    let node = json!({"$ref": "#/$defs/node"});
    let schema = json!({"$ref": "#/$defs/node", "$defs": {"node": {
        "properties": {"a": {"allOf": [node, node]}}}}});
    let deep = (0..60).fold(json!({}), |inner, _| json!({"a": inner}));
    assert!(matches!(checked(&schema, &deep), Checked::NotChecked(_)));
    let shallow = json!({"a": {"a": {"a": {}}}});
    assert_eq!(checked(&schema, &shallow), Checked::Fits);
}

#[test]
fn a_long_chain_of_references_is_not_evaluated_and_a_short_one_is() {
    for (length, is_checked) in [(50, true), (5_000, false)] {
        let chain = bomb("allOf", |level| format!("#/$defs/d{level}"), 1, length);
        let checked = checked(&chain, &json!({"a": "text"}));
        assert_eq!(
            matches!(checked, Checked::Violates(_)),
            is_checked,
            "{checked:?}"
        );
    }
}

#[test]
fn the_deepest_schema_that_is_evaluated_fits_the_stack() {
    // Each level takes two evaluations: the reference, and what it leads to.
    let chain = bomb(
        "allOf",
        |level| format!("#/$defs/d{level}"),
        1,
        DEEPEST / 2 - 2,
    );
    assert!(matches!(
        checked(&chain, &json!({"a": "text"})),
        Checked::Violates(_)
    ));
}

#[test]
fn a_reference_that_is_not_followed_is_named() {
    for (schema, reference) in [
        (
            json!({"$ref": "#/$defs/a%20b", "$defs": {"a b": {}}}),
            "#/$defs/a%20b",
        ),
        (json!({"$ref": "x", "$defs": {"x": {"$id": "x"}}}), "x"),
    ] {
        let why = Uncountable::Reference(reference.to_owned()).to_string();
        assert_eq!(checked(&schema, &json!({})), Checked::NotChecked(why));
    }
}

#[test]
fn patterns_that_take_much_memory_are_not_compiled() {
    let many: Map<String, Value> = (0..=MOST_PATTERNS)
        .map(|it| (format!("p{it}"), json!({"pattern": "a"})))
        .collect();
    for (schema, why) in [
        (
            json!({"properties": {"a": {"pattern": "(\\w{100}){50}"}}}),
            "it has a pattern that is too large",
        ),
        (json!({"properties": many}), "it has more than 100 patterns"),
    ] {
        assert_eq!(
            checked(&schema, &json!({})),
            Checked::NotChecked(why.to_owned())
        );
    }
}
#[test]
fn a_schema_that_is_too_large_is_not_even_copied() {
    for keyword in ["required", "enum", "default", "const", "x-unknown"] {
        for (values, is_large) in [
            (json!(vec!["a"; MOST_VALUES - 1]), false),
            (json!(vec!["a"; MOST_VALUES]), true),
            (json!(["a".repeat(MOST_TEXT)]), true),
            (json!({"a".repeat(MOST_TEXT): 1}), true),
        ] {
            let schema = json!({keyword: values});
            assert_eq!(super::is_large(schema.as_object().unwrap()), is_large);
        }
    }
    let schema = json!({"required": vec!["a"; MOST_VALUES]});
    let why = "it is too large".to_owned();
    assert_eq!(checked(&schema, &json!({})), Checked::NotChecked(why));
}

#[test]
fn no_reason_repeats_a_whole_schema() {
    let many: Vec<String> = (0..10_000).map(|it| format!("v{it}")).collect();
    let long = "#/".to_owned() + &"x".repeat(10_000);
    for (schema, instance) in [
        (
            json!({"properties": {"a": {"enum": many}}}),
            json!({"a": 1}),
        ),
        (
            json!({"properties": {"a": {"const": many}}}),
            json!({"a": 1}),
        ),
        (json!({"$ref": long}), json!({})),
        (json!({"$ref": "http://h/".to_owned() + &long}), json!({})),
        (json!({"type": long}), json!({})),
    ] {
        let (Checked::NotChecked(why) | Checked::Violates(Violation::Unfit { message: why, .. })) =
            checked(&schema, &instance)
        else {
            panic!("it is validated");
        };
        assert!(why.chars().count() <= LONGEST_REASON + 3, "{why}");
    }
}
