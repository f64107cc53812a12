//! The headers of a tool entry, as a request to its server carries them.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::mcp;

/// The headers of a tool entry.
///
/// # Errors
/// Why they cannot be sent. No value is repeated: it can be a secret.
pub fn read(headers: Option<&Value>) -> Result<HeaderMap, String> {
    let headers = match headers {
        None | Some(Value::Null) => return Ok(HeaderMap::new()),
        Some(Value::Object(headers)) => headers,
        Some(_) => return Err("are not an object".to_owned()),
    };
    let mut read = HeaderMap::new();
    for (name, value) in headers {
        let parsed = HeaderName::try_from(name).map_err(|_| {
            // What is not a name may be a whole line, value included.
            "have a name that no HTTP header can have".to_owned()
        })?;
        if mcp::is_reserved(&parsed) {
            return Err(format!(
                "set {name}, which the MCP client sets itself: leave it out"
            ));
        }
        let value = value.as_str().and_then(|it| HeaderValue::from_str(it).ok());
        let mut value =
            value.ok_or_else(|| format!("have a value of {name} that no HTTP header can carry"))?;
        value.set_sensitive(true);
        read.append(parsed, value);
    }
    Ok(read)
}
