//! What a call brought, as text: its text blocks as they are, and a line for each other block.

use std::path::PathBuf;

use serde_json::Value;

use super::sanitize::one_line;
use crate::mcp::CallResult;

/// What a block of a result carries that is no text (MCP 2026-07-28, tools, tool result).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attachment<'a> {
    /// Its MIME type, as far as the server gives one.
    pub mime_type: Option<&'a str>,
    pub base64: &'a str,
}

impl<'a> Attachment<'a> {
    /// That of a block which is an image, audio or a binary resource.
    pub fn of(block: &'a Value) -> Option<Self> {
        let (carrier, field) = match block["type"].as_str()? {
            "image" | "audio" => (block, "data"),
            "resource" => (&block["resource"], "blob"),
            _ => return None,
        };
        Some(Self {
            mime_type: carrier["mimeType"].as_str(),
            base64: carrier[field].as_str()?,
        })
    }
}

/// The result as text. `saved` has the file that each block was saved as. A result that has
/// structured content alone is that.
pub fn result_text(result: &CallResult, saved: &[Option<PathBuf>]) -> String {
    if let (true, Some(structured)) = (result.content().is_empty(), result.structured_content()) {
        return structured.to_string();
    }
    let files = saved.iter().map(Option::as_ref);
    let files = files.chain(std::iter::repeat(None));
    let blocks = result.content().iter().zip(files);
    let blocks: Vec<String> = blocks.map(|(block, file)| told(block, file)).collect();
    blocks.join("\n")
}

fn told(block: &Value, file: Option<&PathBuf>) -> String {
    if let Some(attachment) = Attachment::of(block) {
        let mime_type = one_line(attachment.mime_type.unwrap_or("data"));
        let size = size(attachment.base64.trim_end_matches('=').len() as u64 * 3 / 4);
        let file = file.map_or(String::new(), |it| format!(": {}", it.display()));
        return format!("{mime_type}, {size}{file}");
    }
    match (block["type"].as_str(), &block["uri"]) {
        (Some("text"), _) => block["text"].as_str().unwrap_or_default().to_owned(),
        (Some("resource"), _) if block["resource"]["text"].is_string() => block["resource"]["text"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        (Some("resource_link"), Value::String(uri)) => {
            let mime_type = block["mimeType"].as_str().map(|it| one_line(it) + ", ");
            let size = block["size"].as_u64().map(|it| size(it) + ", ");
            let (mime_type, size) = (mime_type.unwrap_or_default(), size.unwrap_or_default());
            format!("{mime_type}{size}at {}", one_line(uri))
        }
        // A kind of a later version of MCP, or of the server's own.
        _ => block.to_string(),
    }
}

/// `12 KB`, in thousands.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{} KB", bytes.div_ceil(1_000)),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_is_told_as_it_is_and_anything_else_in_a_line() {
        let result: CallResult = serde_json::from_value(json!({"content": [
            {"type": "text", "text": "two\nlines"},
            {"type": "image", "mimeType": "image/png", "data": "A".repeat(16_000)},
            {"type": "audio", "mimeType": "audio/wav\u{1b}[2J", "data": "AAAA"},
            {"type": "resource", "resource": {"uri": "a:b", "text": "read me"}},
            {"type": "resource", "resource": {"uri": "a:c", "blob": "AA=="}},
            {"type": "resource_link", "uri": "https://a.example/x", "name": "x", "size": 2_500_000},
        ]}))
        .unwrap();
        insta::assert_snapshot!(result_text(&result, &[None, Some("charts/a-1.png".into())]), @r"
        two
        lines
        image/png, 12 KB: charts/a-1.png
        audio/wav\u{1b}[2J, 3 bytes
        read me
        data, 1 bytes
        2.5 MB, at https://a.example/x
        ");
    }

    #[test]
    fn structured_content_alone_is_told() {
        let result = json!({"content": [], "structuredContent": {"result": [1, 2]}});
        let result: CallResult = serde_json::from_value(result).unwrap();
        assert_eq!(result_text(&result, &[]), r#"{"result":[1,2]}"#);
    }
}
