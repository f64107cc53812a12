//! Whether the texts of a JSON document are Unicode.

/// Whether a `\u` escape is half of a surrogate pair: a text with one cannot be decoded (RFC 8259 section 8.2).
/// serde_json checks that only where it builds a `String`, and messages are not parsed that far.
pub fn has_lone_surrogate(json: &[u8]) -> bool {
    let mut rest = json;
    while let Some(place) = memchr::memchr(b'\\', rest) {
        rest = &rest[place..];
        match escape(rest) {
            Some(0xd800..0xdc00) => match rest.get(6..).and_then(escape) {
                Some(0xdc00..0xe000) => rest = &rest[12..],
                _ => return true,
            },
            Some(0xdc00..0xe000) => return true,
            Some(_) => rest = &rest[6..],
            // Another escape: what it escapes may be a backslash.
            None => rest = rest.get(2..).unwrap_or_default(),
        }
    }
    false
}

/// The code unit of a `\u` escape at the start of a text.
fn escape(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn half_a_pair_is_found_wherever_it_is() {
        for (json, is_lone) in [
            (r#"{"a":"\ud83c\udfb2"}"#, false),
            (r#"{"a":"\ud83c"}"#, true),
            (r#"{"\udfb2":1}"#, true),
            (r#"{"a":"\udfb2\ud83c"}"#, true),
            (r#"{"a":"\ud83c\u0041"}"#, true),
            (r#"{"a":"\ud83c\n"}"#, true),
            (r#"{"a":"\\ud83c"}"#, false),
            (r#"{"a":"\\\ud83c"}"#, true),
            (r#"{"a":"\u0041\"\/"}"#, false),
            (r#"{"a":"\"#, false),
            (r#"{"a":"\u12"#, false),
        ] {
            assert_eq!(has_lone_surrogate(json.as_bytes()), is_lone, "{json}");
        }
    }

    proptest! {
        #[test]
        fn a_text_is_what_serde_json_can_decode(
            parts in prop::collection::vec(prop::sample::select(vec![
                "a", "\\\\", "\\n", "\\\"", "\\u0041", "\\ud83c", "\\udfb2", "\\uDFFF", "é",
            ]), 0..8),
        ) {
            let json = format!("\"{}\"", parts.concat());
            let decoded = serde_json::from_str::<String>(&json);
            prop_assert_eq!(has_lone_surrogate(json.as_bytes()), decoded.is_err());
        }
    }
}
