//! Requests of the Responses API without the credentials that their tool entries have.

use serde_json::Value;

const REDACTED: &str = "[redacted]";

/// The body without the `authorization`, the values of the `headers` and the query of the `server_url` of its
/// `mcp` tools; `None` if there is nothing to take out.
pub fn tool_entries(body: &[u8]) -> Option<Vec<u8>> {
    memchr::memmem::find(body, b"\"mcp\"")?;
    let mut request: Value = serde_json::from_slice(body).ok()?;
    let tools = request.get_mut("tools")?.as_array_mut()?;
    tools.iter_mut().for_each(redact);
    serde_json::to_vec(&request).ok()
}

fn redact(tool: &mut Value) {
    if let Some(token) = tool.get_mut("authorization").filter(|it| !it.is_null()) {
        *token = REDACTED.into();
    }
    let headers = tool.get_mut("headers").and_then(Value::as_object_mut);
    for value in headers.into_iter().flat_map(|it| it.values_mut()) {
        *value = REDACTED.into();
    }
    if let Some(url) = tool.get_mut("server_url")
        && let Some(text) = url.as_str()
        && let Ok(mut parsed) = url::Url::parse(text)
        && (parsed.query().is_some() || parsed.password().is_some())
    {
        let hidden = parsed.query().map(|_| REDACTED);
        parsed.set_query(hidden);
        // Only URLs without a host have no place for one.
        let _ = parsed.set_password(None);
        *url = parsed.to_string().into();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn credentials_of_tool_entries_are_taken_out() {
        let request = json!({"model": "m", "input": "sesame", "tools": [
            {"type": "mcp", "server_label": "a", "server_url": "https://u:pass@a.example/mcp?key=sesame",
             "authorization": "sesame", "headers": {"X-Key": "sesame"}}, {"type": "function"}]});
        let shown = tool_entries(request.to_string().as_bytes()).unwrap();
        let shown: Value = serde_json::from_slice(&shown).unwrap();
        assert_eq!(shown["input"], "sesame");
        assert!(!shown["tools"].to_string().contains("sesame"), "{shown}");
        assert!(!shown["tools"].to_string().contains("pass@"), "{shown}");
        assert_eq!(tool_entries(b"{\"tools\": []}"), None);
    }
}
