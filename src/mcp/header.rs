//! The headers that a caller may send to an MCP server, as a person writes them.

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

/// Whether only the client itself sets this header: it frames the message, manages the connection
/// (RFC 9110 section 7.6.1), or belongs to MCP (MCP 2026-07-28, transports). Any other value breaks
/// the request.
pub fn is_reserved(name: &HeaderName) -> bool {
    let name = name.as_str();
    let is_listed = matches!(
        name,
        "accept"
            | "connection"
            | "content-encoding"
            | "content-length"
            | "content-type"
            | "expect"
            | "host"
            | "http2-settings"
            | "keep-alive"
            | "last-event-id"
            | "mcp-method"
            | "mcp-name"
            | "mcp-protocol-version"
            | "mcp-session-id"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    );
    is_listed || name.starts_with("proxy-") || name.starts_with("mcp-param-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_the_message_the_connection_and_mcp_are_reserved() {
        for name in [
            "Accept",
            "Content-Type",
            "Content-Encoding",
            "Content-Length",
            "Transfer-Encoding",
            "Host",
            "Connection",
            "Keep-Alive",
            "Proxy-Authorization",
            "Proxy-Connection",
            "TE",
            "Trailer",
            "Upgrade",
            "Expect",
            "Mcp-Session-Id",
            "MCP-Protocol-Version",
            "Mcp-Method",
            "Mcp-Name",
            "Mcp-Param-City",
            "Last-Event-ID",
            "HTTP2-Settings",
        ] {
            let refusal = read_header(&format!("{name}: 1")).unwrap_err().to_string();
            let expected = format!(
                "the header {} is set by the client itself",
                name.to_ascii_lowercase()
            );
            assert_eq!(refusal, expected);
        }
        for name in [
            "Authorization",
            "Cookie",
            "X-Api-Key",
            "User-Agent",
            "Mcp-Key",
        ] {
            assert!(read_header(&format!("{name}: 1")).is_ok(), "{name}");
        }
    }

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
