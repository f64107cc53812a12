//! `--require-approval`: which calls need approval.

use std::str::FromStr;

use serde_json::Value;

use crate::responses::{self, MCPToolRequireApproval};

/// `require_approval`, as text or as JSON.
#[derive(Debug, Clone)]
pub struct RequireApproval(pub MCPToolRequireApproval);

impl RequireApproval {
    /// No call needs approval.
    pub fn never() -> MCPToolRequireApproval {
        responses::MCPToolApprovalSetting::Never.into()
    }
}

impl FromStr for RequireApproval {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let json = match text {
            "always" | "never" => Value::from(text),
            _ => serde_json::from_str(text).unwrap_or(Value::Null),
        };
        let is_known = match &json {
            Value::Object(filter) => filter
                .keys()
                .all(|key| matches!(key.as_str(), "always" | "never")),
            _ => true,
        };
        serde_json::from_value(json)
            .ok()
            .filter(|_| is_known)
            .map(Self)
            .ok_or(
                "use always, never, or JSON such as {\"never\": {\"tool_names\": [\"roll_dice\"]}}",
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn approval_is_a_word_or_a_filter() {
        for text in ["always", "never", r#"{"never": {"tool_names": ["a"]}}"#] {
            assert!(text.parse::<RequireApproval>().is_ok(), "{text}");
        }
        for text in ["sometimes", "", "{}}", "[1]", r#"{"nevr": {}}"#, "7"] {
            assert!(text.parse::<RequireApproval>().is_err(), "{text}");
        }
    }
}
