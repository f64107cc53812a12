//! `ask --print-request`: the request as something to run or to read. No secret is in it, only the
//! names of environment variables that hold them.

use std::collections::HashSet;
use std::fmt::Write;

use serde_json::Value;
use url::Url;

use super::args;
use crate::address;
use crate::responses::CreateResponse;

/// What the request is printed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PrintAs {
    Curl,
    Python,
    Node,
    Json,
}

/// The request for the endpoint at `url`, in the language. What is printed runs as it stands, with
/// `OPENAI_API_KEY` and the variables that it names set.
pub fn print(request: &CreateResponse, url: &Url, language: PrintAs) -> String {
    let body = serde_json::to_value(request).unwrap_or_default();
    let printer = Printer::new(body, url);
    match language {
        PrintAs::Json => printer.filled(&format!("{:#}", printer.body), |name| {
            format!("${{{name}}}")
        }),
        PrintAs::Curl => printer.curl(),
        PrintAs::Python => printer.python(),
        PrintAs::Node => printer.node(),
    }
}

struct Printer {
    /// The request, with marked names of variables in the place of its secrets.
    body: Value,
    /// What stands around such a name until a language is chosen; it is nowhere else in the request.
    mark: String,
    base_url: String,
    streams: bool,
}

/// Puts marked names in the place of tokens, header values, and URLs that can hold a password.
fn hide_secrets(body: &mut Value, mark: &str) {
    let Some(tools) = body.get_mut("tools").and_then(Value::as_array_mut) else {
        return;
    };
    // One server's token is MCP_AUTHORIZATION, as the flag reads it; several need several.
    let several = tools.len() > 1;
    let mut taken = HashSet::new();
    for tool in tools {
        let label = tool["server_label"].as_str().unwrap_or("").to_owned();
        let suffix = match several {
            true => format!("_{}", in_capitals(&label)),
            false => String::new(),
        };
        let mut marked = |name: &str| {
            let name = format!("{name}{suffix}");
            let numbered = (2..).map(|number| format!("{name}_{number}"));
            let mut names = std::iter::once(name.clone()).chain(numbered);
            let free = names.find(|name| taken.insert(name.clone()));
            Value::from(format!("{mark}{}{mark}", free.unwrap_or(name)))
        };
        if tool.get("authorization").is_some_and(Value::is_string) {
            tool["authorization"] = marked("MCP_AUTHORIZATION");
        }
        let url = tool.get("server_url").and_then(Value::as_str);
        let url = url.and_then(|url| Url::parse(url).ok());
        if url.is_some_and(|url| address::shown(&url) != url.as_str()) {
            tool["server_url"] = marked("MCP_SERVER_URL");
        }
        let headers = tool.get_mut("headers").and_then(Value::as_object_mut);
        for (name, value) in headers.into_iter().flatten() {
            *value = marked(&format!("MCP_HEADER_{}", in_capitals(name)));
        }
    }
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

impl Printer {
    fn new(mut body: Value, url: &Url) -> Self {
        let text = body.to_string();
        let marks = (0..).map(|number| format!("__VARIABLE_{number}__"));
        let mark = marks
            .into_iter()
            .find(|mark| !text.contains(mark))
            .unwrap_or_default();
        hide_secrets(&mut body, &mark);
        let base_url = url.as_str();
        Self {
            streams: body.get("stream") == Some(&Value::Bool(true)),
            body,
            mark,
            base_url: base_url
                .strip_suffix("/responses")
                .unwrap_or(base_url)
                .to_owned(),
        }
    }

    /// The text with each marked name as `reference` writes it.
    fn filled(&self, text: &str, reference: impl Fn(&str) -> String) -> String {
        let parts = text.split(&self.mark).enumerate();
        let parts = parts.map(|(number, part)| match number % 2 {
            0 => part.to_owned(),
            _ => reference(part),
        });
        parts.collect()
    }

    /// The same where a language wants the reference without the quotes of the text.
    fn filled_literal(&self, text: &str, reference: impl Fn(&str) -> String) -> String {
        let mark = &self.mark;
        let text = text.replace(&format!("\"{mark}"), mark);
        self.filled(&text.replace(&format!("{mark}\""), mark), reference)
    }

    fn curl(&self) -> String {
        let body = format!("{:#}", self.body);
        // What a shell would take for its own in a here-document.
        let body = body
            .replace('\\', "\\\\")
            .replace('$', "\\$")
            .replace('`', "\\`");
        let body = self.filled(&body, |name| format!("${name}"));
        let unbuffered = if self.streams { " --no-buffer" } else { "" };
        let url = args::quoted(&format!("{}/responses", self.base_url));
        format!(
            "curl --silent --show-error{unbuffered} {url} \\
  --header \"Authorization: Bearer $OPENAI_API_KEY\" \\
  --header 'Content-Type: application/json' \\
  --data-binary @- <<END_OF_REQUEST
{body}
END_OF_REQUEST"
        )
    }

    fn python(&self) -> String {
        let mut arguments = String::new();
        for (name, value) in self.body.as_object().into_iter().flatten() {
            // Writing to a `String` does not fail.
            let _ = writeln!(arguments, "    {name}={},", python_literal(value, 1));
        }
        let arguments = self.filled_literal(&arguments, |name| format!("os.environ[\"{name}\"]"));
        let rest = match self.streams {
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
            base_url = Value::from(self.base_url.as_str()),
        )
    }

    fn node(&self) -> String {
        let body = format!("{:#}", self.body);
        let body = self.filled_literal(&body, |name| format!("process.env.{name}"));
        let rest = match self.streams {
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
            base_url = Value::from(self.base_url.as_str()),
        )
    }
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
                {"type": "mcp", "server_label": "b_c", "authorization": "canary",
                 "server_url": "https://a.example/?key=canary"},
            ],
        }))
        .unwrap();
        let url = Url::parse("https://api.openai.com/v1/responses").unwrap();
        for language in [PrintAs::Curl, PrintAs::Python, PrintAs::Node, PrintAs::Json] {
            let printed = print(&request, &url, language);
            assert!(!printed.contains("canary"), "{printed}");
            for name in [
                "MCP_AUTHORIZATION_A",
                "MCP_AUTHORIZATION_B_C",
                "MCP_AUTHORIZATION_B_C_2",
                "MCP_SERVER_URL_B_C",
                "MCP_HEADER_X_KEY_A",
            ] {
                assert!(printed.contains(name), "{name} is not in {printed}");
            }
            assert!(!printed.contains("__VARIABLE"), "{printed}");
        }
    }
}
