//! Any JSON as the `inputSchema` of a tool: whatever looks at it ends within its budget.

#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use mcp_cli::engine::model::rules::{self, Plan, Tool};
use mcp_cli::schema::{self, Checked, Type, Work, subschemas};
use serde_json::Value;
use tokio::runtime::Runtime;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().expect("a runtime")
});

/// A debug build with coverage takes many times what a release build takes.
const LONGEST: Duration = Duration::from_secs(8);

// Two lines of JSON, the schema and the arguments, and a question behind them.
fuzz_target!(|input: &str| {
    let mut lines = input.splitn(3, '\n');
    let mut json = || serde_json::from_str::<Value>(lines.next()?).ok();
    let (Some(schema), Some(arguments)) = (json(), json()) else {
        return;
    };
    let question = lines.next().unwrap_or("Do it with 5 and \"x\"");
    let began = Instant::now();

    let _ = Type::read(&schema, &schema, &mut Work::of_schema()).map(|it| it.to_string());
    if let Value::Object(fields) = &schema {
        let member = |path: &str, token: &str| format!("{path}/{token}");
        let _ = subschemas(fields, member, &mut Work::of_schema());
        if let Value::Object(arguments) = &arguments {
            let checked = RUNTIME.block_on(schema::validate(arguments.clone(), fields));
            assert_ne!(checked, Checked::NotChecked("the validator failed".to_owned()));
        }
    }
    let tool = Tool {
        name: "do_it",
        description: Some("Do it with a number and a text."),
        input_schema: &schema,
        is_read_only: Some(true),
    };
    match rules::plan(question, &[tool], true) {
        Plan::Call(calls) => assert!(!calls.is_empty()),
        Plan::Say(text) => assert!(!text.is_empty()),
    }
    assert!(began.elapsed() < LONGEST, "{:?}", began.elapsed());
});
