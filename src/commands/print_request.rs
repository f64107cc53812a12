//! `ask --print-request`: the request as something to run or to read. No secret is in it, only the
//! names of environment variables that hold them.

use std::fmt::Write;

use serde_json::Value;
use url::Url;

use crate::responses::CreateResponse;

/// What the request is printed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PrintAs {
    Curl,
    Python,
    Node,
    Json,
}

/// A variable of the environment in the place of a secret, until it is written in a language.
const MARK: char = '\u{1}';

/// The request for `base_url`, in the language. What is printed runs as it stands, with
/// `OPENAI_API_KEY` and the variables that it names set.
pub fn print(request: &CreateResponse, base_url: &Url, language: PrintAs) -> String {
    let body = without_secrets(request);
    let base_url = base_url.as_str().trim_end_matches('/');
    let streams = body["stream"] == Value::Bool(true);
    match language {
        PrintAs::Json => filled(&format!("{body:#}"), |name| format!("${{{name}}}")),
        PrintAs::Curl => curl(&body, base_url, streams),
        PrintAs::Python => python(&body, base_url, streams),
        PrintAs::Node => node(&body, base_url, streams),
    }
}

/// The request with marked names in the place of its tokens and header values.
fn without_secrets(request: &CreateResponse) -> Value {
    let mut body = serde_json::to_value(request).unwrap_or_default();
    let Some(tools) = body["tools"].as_array_mut() else {
        return body;
    };
    // One server's token is MCP_AUTHORIZATION, as the flag reads it; several need several.
    let several = tools.len() > 1;
    for tool in tools {
        let label = tool["server_label"].as_str().unwrap_or("").to_owned();
        let suffix = if several {
            format!("_{}", in_capitals(&label))
        } else {
            String::new()
        };
        if tool.get("authorization").is_some_and(Value::is_string) {
            tool["authorization"] = marked(&format!("MCP_AUTHORIZATION{suffix}"));
        }
        let headers = tool.get_mut("headers").and_then(Value::as_object_mut);
        for (name, value) in headers.into_iter().flatten() {
            *value = marked(&format!("MCP_HEADER_{}{suffix}", in_capitals(name)));
        }
    }
    body
}

fn in_capitals(name: &str) -> String {
    let capital = |it: char| {
        if it.is_ascii_alphanumeric() {
            it.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    name.chars().map(capital).collect()
}

fn marked(name: &str) -> Value {
    format!("{MARK}{name}{MARK}").into()
}

/// The text with each marked name as `reference` writes it.
fn filled(text: &str, reference: impl Fn(&str) -> String) -> String {
    // In JSON text, the mark is an escape.
    let parts = text.split("\\u0001");
    let parts = parts.enumerate().map(|(number, part)| match number % 2 {
        0 => part.to_owned(),
        _ => reference(part),
    });
    parts.collect()
}

fn curl(body: &Value, base_url: &str, streams: bool) -> String {
    let body = format!("{body:#}");
    // What a shell would take for its own in a here-document.
    let body = body
        .replace('\\', "\\\\")
        .replace('$', "\\$")
        .replace('`', "\\`");
    let body = body.replace("\\\\u0001", "\\u0001");
    let body = filled(&body, |name| format!("${name}"));
    let unbuffered = if streams { " --no-buffer" } else { "" };
    format!(
        "curl --silent --show-error{unbuffered} {url} \\
  --header \"Authorization: Bearer $OPENAI_API_KEY\" \\
  --header 'Content-Type: application/json' \\
  --data-binary @- <<END_OF_REQUEST
{body}
END_OF_REQUEST",
        url = quoted(&format!("{base_url}/responses")),
    )
}

/// A word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn python(body: &Value, base_url: &str, streams: bool) -> String {
    let mut arguments = String::new();
    for (name, value) in body.as_object().into_iter().flatten() {
        // A name that is no word of Python's comes from nowhere but a field that we do not know.
        let _ = writeln!(arguments, "    {name}={},", python_literal(value, 1));
    }
    let arguments = filled_literal(&arguments, |name| format!("os.environ[\"{name}\"]"));
    let rest = match streams {
        false => "print(response.output_text)",
        true => {
            "for event in response:
    if event.type == \"response.output_text.delta\":
        print(event.delta, end=\"\", flush=True)
print()"
        }
    };
    format!(
        "import os

from openai import OpenAI

client = OpenAI(api_key=os.environ[\"OPENAI_API_KEY\"], base_url={base_url})
response = client.responses.create(
{arguments})
{rest}",
        base_url = Value::from(base_url),
    )
}

/// JSON as Python writes it: other words for true, false and null.
fn python_literal(value: &Value, depth: usize) -> String {
    let indent = "    ".repeat(depth + 1);
    let end = "    ".repeat(depth);
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(_) | Value::String(_) => value.to_string(),
        Value::Array(list) if list.is_empty() => "[]".to_owned(),
        Value::Object(fields) if fields.is_empty() => "{}".to_owned(),
        Value::Array(list) => {
            let lines = list
                .iter()
                .map(|it| format!("{indent}{},\n", python_literal(it, depth + 1)));
            format!("[\n{}{end}]", lines.collect::<String>())
        }
        Value::Object(fields) => {
            let lines = fields.iter().map(|(name, value)| {
                let name = Value::from(name.as_str());
                format!("{indent}{name}: {},\n", python_literal(value, depth + 1))
            });
            format!("{{\n{}{end}}}", lines.collect::<String>())
        }
    }
}

fn node(body: &Value, base_url: &str, streams: bool) -> String {
    let body = filled_literal(&format!("{body:#}"), |name| format!("process.env.{name}"));
    let rest = match streams {
        false => "console.log(response.output_text);",
        true => {
            "for await (const event of response) {
  if (event.type === \"response.output_text.delta\") process.stdout.write(event.delta);
}
console.log();"
        }
    };
    format!(
        "// Save it as ask.mjs.
import OpenAI from \"openai\";

const client = new OpenAI({{ apiKey: process.env.OPENAI_API_KEY, baseURL: {base_url} }});
const response = await client.responses.create({body});
{rest}",
        base_url = Value::from(base_url),
    )
}

/// The text with each marked name, quotes and all, as `reference` writes it.
fn filled_literal(text: &str, reference: impl Fn(&str) -> String) -> String {
    let text = text
        .replace("\"\\u0001", "\\u0001")
        .replace("\\u0001\"", "\\u0001");
    filled(&text, reference)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_secret_is_printed_and_every_server_has_variables_of_its_own() {
        let request: CreateResponse = serde_json::from_value(json!({
            "model": "gpt-5", "input": "It's \"$5\" `now`\\", "stream": true, "store": false,
            "tools": [
                {"type": "mcp", "server_label": "a", "authorization": "canary", "headers": {"X-Key": "canary"}},
                {"type": "mcp", "server_label": "b-c", "authorization": "canary"},
            ],
        }))
        .unwrap();
        let url = Url::parse("https://api.openai.com/v1/").unwrap();
        for language in [PrintAs::Curl, PrintAs::Python, PrintAs::Node, PrintAs::Json] {
            let printed = print(&request, &url, language);
            assert!(!printed.contains("canary"), "{printed}");
            for name in [
                "MCP_AUTHORIZATION_A",
                "MCP_AUTHORIZATION_B_C",
                "MCP_HEADER_X_KEY_A",
            ] {
                assert!(printed.contains(name), "{name} is not in {printed}");
            }
            assert!(!printed.contains("u0001"), "{printed}");
        }
    }
}
