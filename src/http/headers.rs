//! Headers that decide something: read once, and not twice.

use http::{HeaderMap, HeaderName, HeaderValue};

/// MCP, transports, protocol version header.
pub const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// The header, or that there is none. Two of them are an error: others may have read the other one.
pub fn one(headers: &HeaderMap, name: HeaderName) -> Result<Option<&HeaderValue>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(()),
    }
}
