//! One request to a server of ours, on one line.

use super::sanitize::one_line;
use super::{DIM, ERROR};
use crate::http::Exchange;

/// `tools/call roll_dice  200  0.4 ms  openai-mcp 1.0.0  2025-06-18`, or `GET /healthz  200  0.1 ms`
/// where there was no message. Times are in milliseconds.
pub fn line(exchange: &Exchange) -> String {
    let said = |text: &Option<String>| text.as_deref().map(one_line);
    let method = one_line(&exchange.method);
    let asked = match (said(&exchange.tool), exchange.is_http) {
        (Some(tool), _) => format!("{method} {tool}"),
        (None, true) => format!("{method} {}", one_line(&exchange.path)),
        (None, false) => method,
    };
    let status = exchange.status.as_u16();
    let status = match status {
        400.. => format!("{ERROR}{status}{ERROR:#}"),
        _ => status.to_string(),
    };
    let time = format!("{:.1} ms", exchange.duration.as_secs_f64() * 1000.0);
    let client = said(&exchange.client).or_else(|| said(&exchange.user_agent));
    let rest: Vec<String> = client
        .into_iter()
        .chain(said(&exchange.protocol_version))
        .collect();
    format!("{asked}  {status}  {DIM}{time}  {}{DIM:#}", rest.join("  "))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_request_is_one_line_that_cannot_drive_the_terminal() {
        let exchange = Exchange {
            method: "tools/call".to_owned(),
            is_http: false,
            path: "/mcp".to_owned(),
            tool: Some("roll\u{1b}[2J\ndice".to_owned()),
            client: None,
            user_agent: Some("curl/8".to_owned()),
            protocol_version: Some("2025-06-18".to_owned()),
            status: http::StatusCode::OK,
            duration: Duration::from_micros(420),
        };
        let line = line(&exchange);
        assert!(
            !line.contains('\n') && !line.contains("[2J\u{1b}"),
            "{line:?}"
        );
        assert!(line.starts_with("tools/call roll"), "{line:?}");
        assert!(line.contains("0.4 ms  curl/8  2025-06-18"), "{line:?}");
    }
}
