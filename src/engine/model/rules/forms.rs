//! Texts that show by their form what they are: addresses, dates, paths.

use super::words::split;

/// How the text of a property looks, where its format or its name tells.
pub fn form(name: &str, format: Option<&str>) -> Option<fn(&str) -> bool> {
    let format = format.unwrap_or_default();
    let name = split(name);
    let is_called = |words: &[&str]| name.iter().any(|word| words.contains(&word.as_str()));
    if matches!(format, "uri" | "url") || is_called(&["url", "uri", "link"]) {
        Some(|text| text.contains("://"))
    } else if format == "email" || is_called(&["email", "mail"]) {
        Some(|text| {
            text.split_once('@')
                .is_some_and(|(_, host)| host.contains('.'))
        })
    } else if matches!(format, "date" | "date-time") || is_called(&["date"]) {
        Some(is_date)
    } else if is_called(&["path", "file", "filename", "filepath"]) {
        Some(is_path)
    } else if is_called(&["repo", "repository"]) {
        Some(|text| {
            text.split('/').filter(|part| !part.is_empty()).count() == 2 && !text.contains(':')
        })
    } else {
        None
    }
}

/// `2026-11-22`, with or without a time behind it.
fn is_date(text: &str) -> bool {
    let mut shape = text
        .chars()
        .map(|it| if it.is_ascii_digit() { '0' } else { it });
    "0000-00-00"
        .chars()
        .all(|expected| shape.next() == Some(expected))
}

/// `src/main.rs`, `/etc/hosts`, `notes.txt`.
fn is_path(text: &str) -> bool {
    let has_extension = text.rsplit_once('.').is_some_and(|(stem, it)| {
        !stem.is_empty() && (1..=5).contains(&it.len()) && it.chars().all(char::is_alphanumeric)
    });
    let is_number = text.chars().all(|it| it.is_ascii_digit() || it == '.');
    !text.contains("://") && (text.contains('/') || has_extension) && !is_number
}
