//! The headers of an `mcp` tool entry, as a person writes them.

use std::str::FromStr;

use http::{HeaderName, HeaderValue};

/// The name and the value of a header line. The error repeats nothing: what is wrong may stand next
/// to a secret.
pub fn read_header(line: &str) -> Result<(&str, &str), UnusableHeader> {
    let (name, value) = line.split_once(':').ok_or(UnusableHeader::NoColon)?;
    let value = value.trim();
    let parsed = HeaderName::from_str(name).map_err(|_| UnusableHeader::Name)?;
    if HeaderValue::from_str(value).is_err() {
        return Err(UnusableHeader::Value);
    }
    if is_reserved(&parsed) {
        return Err(UnusableHeader::Reserved(parsed));
    }
    Ok((name, value))
}

/// Why a line is no header for an MCP server.
#[derive(Debug, thiserror::Error)]
pub enum UnusableHeader {
    #[error("a header is `Name: value`")]
    NoColon,
    #[error("the name of a header has letters, digits and `-`, and no space before the colon")]
    Name,
    #[error("the value of a header has characters that no header can carry")]
    Value,
    #[error("the header {0} is set by the client itself")]
    Reserved(HeaderName),
}

/// Headers that frame a request or belong to MCP; another value breaks the connection.
fn is_reserved(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "host"
            | "content-length"
            | "content-type"
            | "transfer-encoding"
            | "connection"
            | "accept"
            | "mcp-session-id"
            | "mcp-protocol-version"
            | "mcp-method"
            | "mcp-name"
            | "last-event-id"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_would_break_a_request_is_refused_without_being_repeated() {
        for line in [
            "no colon canary",
            "Bad Name: canary",
            "X-Key: canary\r\nX-Other: 1",
            "X-Key: canary\0",
            "Host: canary",
            "Content-Length: 7",
            "Mcp-Session-Id: canary",
        ] {
            let refusal = read_header(line).unwrap_err().to_string();
            assert!(!refusal.contains("canary"), "{refusal}");
        }
        assert_eq!(read_header("X-Key:  secret ").unwrap(), ("X-Key", "secret"));
    }
}
