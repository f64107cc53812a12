//! Names, pointers and lists of them, short enough to be read.

/// How many of a list are named.
const NAMED: usize = 5;

/// The longest name that is shown whole; a server may send any.
const LONGEST: usize = 80;

/// A name in backticks, cut where it is too long to be one.
pub fn quoted(name: &str) -> String {
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("`{}...`", &name[..end]),
        None => format!("`{name}`"),
    }
}

/// The first few, and how many more there are: `a, b and 7 more`.
pub fn few(all: &[String], separator: &str) -> String {
    let named = all.iter().take(NAMED).map(String::as_str);
    let named = named.collect::<Vec<_>>().join(separator);
    match all.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// `1 tool`, `2 tools`.
pub fn tools(count: usize) -> String {
    match count {
        1 => "1 tool".to_owned(),
        _ => format!("{count} tools"),
    }
}

/// The JSON pointer to a member (RFC 6901). One that nobody would read is not made longer: a server
/// may send a name of a megabyte, and many schemas below it.
pub fn member(pointer: &str, token: &str) -> String {
    const LONGEST: usize = 200;
    if pointer.len() + token.len() <= LONGEST {
        let token = token.replace('~', "~0").replace('/', "~1");
        return format!("{pointer}/{token}");
    }
    match pointer.ends_with("/...") {
        true => pointer.to_owned(),
        false => format!("{pointer}/..."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_a_few_and_counts_the_rest() {
        let all: Vec<String> = (0..7).map(|it| it.to_string()).collect();
        assert_eq!(few(&all, ", "), "0, 1, 2, 3, 4 and 2 more");
        assert_eq!(few(&all[..2], "; "), "0; 1");
    }

    #[test]
    fn a_name_is_never_a_page() {
        let shown = quoted(&"\u{e9}".repeat(1_000_000));
        assert_eq!(shown.chars().count(), LONGEST + 5);
    }

    #[test]
    fn a_pointer_is_escaped_and_does_not_grow_for_ever() {
        assert_eq!(member("/a", "b/c~d"), "/a/b~1c~0d");
        let long = member("/a", &"n".repeat(1_000_000));
        assert_eq!(long, "/a/...");
        let longer = (0..1000).fold(long, |pointer, _| member(&pointer, "properties"));
        assert!(longer.len() < 250, "{longer}");
    }
}
