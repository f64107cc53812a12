//! Which tools only read, and which actions a question asks for.
//!
//! A tool that may change something is called only if the question asks for its action: "Add a page
//! break" calls `add_page_break`, "How many page breaks did I add?" does not.

use std::collections::HashSet;

use super::pick::split_at;
use super::words::{split, stem};

/// Verbs of tools that read, where a tool has no annotation.
const READING: &[&str] = &[
    "analyse",
    "analyze",
    "browse",
    "calculate",
    "compare",
    "compute",
    "count",
    "describe",
    "diff",
    "estimate",
    "explain",
    "explore",
    "fetch",
    "find",
    "get",
    "has",
    "inspect",
    "is",
    "list",
    "locate",
    "look",
    "lookup",
    "measure",
    "peek",
    "preview",
    "query",
    "read",
    "retrieve",
    "search",
    "show",
    "summarise",
    "summarize",
    "tell",
    "translate",
    "view",
];

/// Verbs of tools that act, to find the verb of a name such as `github_create_issue`.
const ACTING: &[&str] = &[
    "accept",
    "add",
    "append",
    "apply",
    "approve",
    "archive",
    "assign",
    "book",
    "buy",
    "call",
    "cancel",
    "change",
    "clear",
    "click",
    "clone",
    "close",
    "commit",
    "copy",
    "create",
    "delete",
    "deploy",
    "disable",
    "drop",
    "edit",
    "enable",
    "execute",
    "fill",
    "fork",
    "grant",
    "insert",
    "install",
    "invite",
    "invoke",
    "kill",
    "lock",
    "make",
    "merge",
    "modify",
    "move",
    "navigate",
    "open",
    "order",
    "pay",
    "post",
    "press",
    "publish",
    "purge",
    "push",
    "put",
    "reboot",
    "register",
    "reject",
    "remove",
    "rename",
    "replace",
    "reply",
    "reset",
    "restart",
    "revoke",
    "run",
    "save",
    "schedule",
    "send",
    "set",
    "start",
    "stop",
    "submit",
    "subscribe",
    "transfer",
    "type",
    "uninstall",
    "unlock",
    "update",
    "upload",
    "upsert",
    "wipe",
    "write",
];

/// What a sentence that asks, and does not request, begins with.
const QUESTION_WORDS: &[&str] = &[
    "am", "are", "did", "do", "does", "had", "has", "have", "how", "if", "is", "may", "might",
    "shall", "should", "unless", "was", "were", "what", "when", "where", "whether", "which", "who",
    "whom", "whose", "why",
];

/// Words that introduce a request.
const LEAD_INS: &[&[&str]] = &[
    &["please"],
    &["kindly"],
    &["now"],
    &["then"],
    &["also"],
    &["next"],
    &["first"],
    &["finally"],
    &["just"],
    &["so"],
    &["and"],
    &["ok"],
    &["okay"],
    &["hello"],
    &["hi"],
    &["hey"],
    &["to"],
    &["be"],
    &["can", "you"],
    &["could", "you"],
    &["would", "you"],
    &["will", "you"],
    &["i", "want", "you"],
    &["i", "want"],
    &["i", "need", "you"],
    &["i", "need"],
    &["i", "would", "like", "you"],
    &["i", "would", "like"],
    &["i", "d", "like", "you"],
    &["i", "d", "like"],
    &["we", "need"],
    &["let", "us"],
    &["let", "s"],
    &["lets"],
    &["go", "ahead"],
    &["try"],
    &["help", "me"],
];

/// The action of a tool, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// The stem of the verb.
    pub verb: Option<String>,
    pub reads: bool,
}

/// Reads the action off a tool's name: the first verb in it that is known, else its first word.
pub fn action(name: &str) -> Action {
    let words = split(name);
    let is = |verbs: &[&str], word: &String| verbs.contains(&word.as_str());
    let known = words
        .iter()
        .position(|word| is(READING, word) || is(ACTING, word));
    let verb = known.unwrap_or(0);
    // `get_or_create_user` creates.
    let joined = words
        .windows(2)
        .find(|pair| matches!(pair[0].as_str(), "and" | "or" | "then") && !is(READING, &pair[1]));
    let acting = joined.map(|pair| &pair[1]);
    let verb = acting.or(words.get(verb));
    Action {
        reads: acting.is_none() && verb.is_some_and(|verb| is(READING, verb)),
        verb: verb.map(|word| stem(word)),
    }
}

/// What a question asks to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Requested {
    /// The stems of verbs.
    verbs: HashSet<String>,
    /// Tools that are named to be called, in lower case.
    names: HashSet<String>,
}

impl Requested {
    /// Reads the requests of a question: each verb that a clause begins with.
    pub fn read(question: &str) -> Self {
        let mut requested = Self::default();
        for sentence in split_at(question, &["then"], &['.', '!', '?', ';', '\n']) {
            let end = sentence.as_ptr().addr() - question.as_ptr().addr() + sentence.len();
            let words = split(sentence);
            let polite = lead_in(&words);
            let begins_as_question = words
                .first()
                .is_some_and(|word| QUESTION_WORDS.contains(&word.as_str()));
            let is_question = begins_as_question || question[end..].starts_with('?');
            if is_question
                && !words[..polite]
                    .iter()
                    .any(|it| it == "you" || it == "please")
            {
                continue;
            }
            let clauses = split_at(sentence, &["and", "but", "or"], &[',', ':']);
            for (index, clause) in clauses.iter().enumerate() {
                // "the pages that I should add, remove or update" requests none of it.
                let words = split(clause);
                let is_quoted = clause.trim_start().starts_with(['"', '\u{201c}']);
                if !is_quoted && (index == 0 || words.len() > 1) {
                    requested.take(clause, &words);
                }
            }
        }
        requested
    }

    fn take(&mut self, clause: &str, words: &[String]) {
        let words = &words[lead_in(words)..];
        let Some(head) = words.first() else { return };
        // What was done is not asked for.
        if !head.ends_with("ed") {
            self.verbs.insert(stem(head));
        }
        let mut tokens = clause
            .split(|it: char| it.is_whitespace() || "`'\"=(".contains(it))
            .map(|token| token.trim_end_matches(['.', ',', ':']).to_lowercase())
            .filter(|token| !token.is_empty())
            .skip_while(|token| !token.starts_with(head.as_str()));
        let first = tokens.next();
        if matches!(head.as_str(), "call" | "use" | "run" | "invoke" | "execute") {
            self.names
                .extend(tokens.find(|it| it != "the" && it != "tool"));
        }
        self.names.extend(first);
    }

    /// Whether the question asks for the action of a tool.
    pub fn asks_for(&self, name: &str, action: &Action) -> bool {
        let verb = action.verb.as_ref();
        verb.is_some_and(|verb| self.verbs.contains(verb))
            || self.names.contains(&name.to_lowercase())
    }
}

/// How many words at the beginning only introduce a request.
fn lead_in(words: &[String]) -> usize {
    let mut length = 0;
    while let Some(more) = LEAD_INS.iter().find(|lead_in| {
        let rest = &words[length..];
        rest.len() > lead_in.len() && rest.iter().zip(**lead_in).all(|(word, of)| word == of)
    }) {
        length += more.len();
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verb_of_a_name_says_whether_its_tool_reads() {
        for (name, verb, reads) in [
            ("get_current_time", "get", true),
            ("list-issues", "list", true),
            ("searchIssues", "search", true),
            ("weather_lookup", "lookup", true),
            ("notion.search", "search", true),
            ("get_update", "get", true),
            ("list_posts", "list", true),
            ("add_page_break", "add", false),
            ("update_issue", "updat", false),
            ("github_create_issue", "creat", false),
            ("get_or_create_user", "creat", false),
            ("search_and_replace", "replac", false),
            ("find_and_list", "find", true),
            ("reboot", "reboot", false),
            ("roll_dice", "roll", false),
            ("weather", "weather", false),
        ] {
            let verb = Some(verb.to_owned());
            assert_eq!(action(name), Action { verb, reads }, "{name}");
        }
        assert_eq!(action("!").verb, None);
    }

    #[test]
    fn a_request_is_a_clause_that_begins_with_a_verb() {
        let asks =
            |question: &str, name: &str| Requested::read(question).asks_for(name, &action(name));
        for question in [
            "Add a page break",
            "Please add a page break to r.docx.",
            "Can you add a page break?",
            "could you please add a page break to r.docx?",
            "I'd like you to add a page break",
            "In r.docx, add a page break",
            "Open r.docx and add a page break behind page 2",
            "Find page 2. Then add a page break!",
            "add_page_break after=2",
            "Call add_page_break with after=2",
            "use the tool `add_page_break`",
        ] {
            assert!(asks(question, "add_page_break"), "{question}");
        }
        for question in [
            "How many pages has r.docx?",
            "How many page breaks did I add?",
            "Which page break did Bob add and where?",
            "Show the page breaks that I have to add",
            "Tell me how to add a page break",
            "What does add_page_break do?",
            "If I add a page break, what happens?",
            "Did you add the page break?",
            "Added page breaks",
            "Add a page break?",
            "The add of page breaks",
            "\"add a page break\" is what it says",
            "",
        ] {
            assert!(!asks(question, "add_page_break"), "{question}");
        }
        assert!(asks("github_create_issue title=x", "github_create_issue"));
        assert!(!asks("Show the unresolved issues", "update_issue"));
        assert!(!asks(
            "Which issues should I close, assign or update?",
            "update_issue"
        ));
        assert!(!asks(
            "List what there is to close, assign or update",
            "assign_issue"
        ));
    }
}
