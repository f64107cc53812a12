//! Which tools only read, and which actions a question asks for.
//!
//! A tool that may change something is called only if the question asks for its action: "Add a page
//! break" calls `add_page_break`, "How many page breaks did I add?" does not.

use std::collections::HashSet;

use super::pick::{sentences, split_at};
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

/// Verbs that mean an action wherever they stand in a name: `find_replace` replaces. Words that are
/// nouns as well, as in `get_order_status`, are left out.
const ALWAYS_ACTING: &[&str] = &[
    "apply",
    "clear",
    "delete",
    "destroy",
    "drop",
    "erase",
    "execute",
    "grant",
    "insert",
    "kill",
    "modify",
    "overwrite",
    "purge",
    "remove",
    "replace",
    "revoke",
    "rid",
    "send",
    "truncate",
    "uninstall",
    "wipe",
];

/// Verbs that ask for a text. What follows them is what the text is about, not a request.
const TELLING: &[&str] = &[
    "analyse",
    "analyze",
    "compare",
    "correct",
    "define",
    "describe",
    "discuss",
    "echo",
    "explain",
    "imagine",
    "list",
    "paraphrase",
    "print",
    "proofread",
    "quote",
    "repeat",
    "rephrase",
    "review",
    "rewrite",
    "say",
    "show",
    "spell",
    "summarise",
    "summarize",
    "suppose",
    "tell",
    "translate",
    "write",
];

/// Words that make a sentence request nothing. `without` is left to [`super::pick`].
const NEGATIONS: &[&str] = &[
    "avoid",
    "cannot",
    "cant",
    "didnt",
    "dont",
    "forbid",
    "forbidden",
    "instead",
    "mustnt",
    "neither",
    "never",
    "no",
    "nobody",
    "none",
    "nor",
    "not",
    "nothing",
    "prohibited",
    "refrain",
    "shouldnt",
    "wont",
];

/// Verbs that make the words before them a subject: "Delete requests are slow".
const STATEMENT_VERBS: &[&str] = &[
    "are", "can", "could", "did", "does", "failed", "fails", "had", "has", "have", "is", "may",
    "means", "might", "must", "needs", "returned", "returns", "shall", "should", "was", "were",
    "will", "works", "would",
];

/// Words that begin an object: what precedes them is a verb.
const DETERMINERS: &[&str] = &[
    "a", "all", "an", "any", "both", "each", "every", "her", "him", "his", "it", "its", "me", "my",
    "our", "some", "that", "the", "their", "them", "these", "this", "those", "us", "your",
];

/// Words that make the rest of a clause, and the clauses after it, a subject matter.
const SUBORDINATORS: &[&str] = &[
    "about",
    "because",
    "concerning",
    "he",
    "how",
    "i",
    "if",
    "people",
    "regarding",
    "says",
    "saying",
    "she",
    "that",
    "they",
    "we",
    "what",
    "when",
    "where",
    "whether",
    "which",
    "who",
    "whose",
    "why",
    "you",
];

/// Prepositions that begin a setting: "In the folder docs, delete x.txt".
const PREPOSITIONS: &[&str] = &[
    "after", "at", "before", "for", "from", "in", "inside", "on", "to", "under", "using", "with",
    "within",
];

/// Words of a clause that is only polite: "Hello there, roll a die".
const COURTESIES: &[&str] = &[
    "again", "also", "finally", "first", "good", "great", "hello", "hey", "hi", "kindly", "next",
    "now", "ok", "okay", "please", "so", "sure", "thank", "thanks", "then", "there", "well", "yes",
    "you",
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

/// Reads the action off a tool's name: a verb that always acts or is joined with "and" or "or", else
/// the first verb in it that is known, else its first word.
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
        .find(|pair| matches!(pair[0].as_str(), "and" | "or" | "then") && !is(READING, &pair[1]))
        .map(|pair| &pair[1]);
    // `find_replace` replaces.
    let hidden = || {
        let reads = words.get(verb).is_some_and(|word| is(READING, word));
        let mut rest = words.iter().skip(verb + 1);
        rest.find(|word| reads && is(ALWAYS_ACTING, word))
    };
    let acting = joined.or_else(hidden);
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
    /// Reads the requests of a question: each verb that a clause begins with. `tool_verbs` are the
    /// stems of the verbs of the tools at hand.
    pub fn read(question: &str, tool_verbs: &HashSet<String>) -> Self {
        let mut requested = Self::default();
        for sentence in sentences(question) {
            let end = sentence.as_ptr().addr() - question.as_ptr().addr() + sentence.len();
            let is_question = question[end..].starts_with('?');
            // What follows a colon is a text, unless only a setting precedes it.
            let parts = split_at(sentence, &[], &[':']);
            let introduces = parts.len() > 1 || sentence.trim_end().ends_with(':');
            let is_introduced = introduces && !parts.first().is_some_and(|it| is_frame(it));
            let read = match parts.first() {
                Some(first) if is_introduced => first,
                _ => sentence,
            };
            if !is_negated(sentence) && !is_inquiry(sentence, is_question) {
                requested.take_sentence(read, tool_verbs);
            }
            if is_introduced {
                break;
            }
        }
        requested
    }

    fn take_sentence(&mut self, sentence: &str, tool_verbs: &HashSet<String>) {
        let is_known = |word: &String| {
            READING.contains(&word.as_str())
                || ACTING.contains(&word.as_str())
                || tool_verbs.contains(&stem(word))
        };
        let mut is_first = true;
        for clause in split_at(sentence, &["and", "but", "or", "then"], &[',', ':', ';']) {
            let words = split(clause);
            let end = clause.as_ptr().addr() - sentence.as_ptr().addr() + clause.len();
            let is_cut_off = sentence[end..].starts_with([',', ':']);
            if is_first && is_cut_off && is_frame(clause) {
                continue;
            }
            // "the pages that I should add, remove or update" requests none of it.
            let is_quoted = clause
                .trim_start()
                .starts_with(['"', '\u{201c}', '\u{ab}', '\'', '>']);
            if !is_quoted && (is_first || words.len() > 1) {
                self.take(clause, &words, is_first);
            }
            // "Find out how people read and delete files" requests no deletion.
            let rest = &words[lead_in(&words)..];
            let Some((head, rest)) = rest.split_first() else {
                continue;
            };
            let begins_request = is_known(head) && !TELLING.contains(&head.as_str());
            let has_subject_matter = is_subordinate(head)
                || rest.iter().any(|it| is_subordinate(it))
                || rest.windows(2).any(|it| it[0] == "to" && is_known(&it[1]))
                || matches!(rest, [.., before, last] if is_known(last) && !is_determiner(before));
            if (is_first && !begins_request) || has_subject_matter {
                return;
            }
            is_first = false;
        }
    }

    fn take(&mut self, clause: &str, words: &[String], is_first: bool) {
        let (before, words) = words.split_at(lead_in(words));
        let Some(head) = words.first() else { return };
        let previous = before.last().map(String::as_str);
        let is_gerund = head.ends_with("ing") && stem(head) != *head;
        // "To delete it", "I need delete rights" and "Deleting it" name an action.
        let is_noun = (is_gerund && previous != Some("be"))
            || matches!(previous, Some("want" | "need" | "like"))
            || (is_first && before.len() == 1 && previous == Some("to"));
        if is_noun || is_statement(words) {
            return;
        }
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

/// Whether a sentence has a negation outside of its quotes.
fn is_negated(sentence: &str) -> bool {
    let quoted: Vec<&str> = sentence.split('"').collect();
    let is_balanced = quoted.len() % 2 == 1;
    let unquoted = quoted.iter().step_by(if is_balanced { 2 } else { 1 });
    unquoted.map(|text| split(text)).any(|words| {
        // `don't` is split at its apostrophe.
        words.iter().any(|word| NEGATIONS.contains(&word.as_str()))
            || words
                .windows(2)
                .any(|pair| pair[0].ends_with('n') && pair[1] == "t")
    })
}

/// Whether a sentence asks a question that is not a polite request.
fn is_inquiry(sentence: &str, ends_as_question: bool) -> bool {
    let words = split(sentence);
    let begins_as_question = words
        .first()
        .is_some_and(|word| QUESTION_WORDS.contains(&word.as_str()));
    let polite = &words[..lead_in(&words)];
    (begins_as_question || ends_as_question)
        && !polite.iter().any(|it| it == "you" || it == "please")
}

/// Whether a text is only polite, or says where or when: "In the folder docs", "Hello there".
fn is_frame(text: &str) -> bool {
    let words = split(text);
    let is_polite = words.iter().all(|it| COURTESIES.contains(&it.as_str()));
    let is_setting = words.split_first().is_some_and(|(head, rest)| {
        let tells = |it: &String| {
            is_subordinate(it)
                || STATEMENT_VERBS.contains(&it.as_str())
                || TELLING.contains(&it.as_str())
        };
        PREPOSITIONS.contains(&head.as_str()) && !rest.iter().any(tells)
    });
    is_polite || is_setting
}

/// Whether words that begin with a verb's form state something: "Delete file x failed".
fn is_statement(words: &[String]) -> bool {
    let is_verb = |it: &String| STATEMENT_VERBS.contains(&it.as_str());
    let Some(next) = words.get(1) else {
        return false;
    };
    let subject = words.iter().skip(1).take_while(|it| !is_verb(it));
    let verb = 1 + subject.clone().count();
    verb < words.len()
        && (is_verb(next) || !is_determiner(next))
        && !subject.into_iter().any(|it| is_subordinate(it))
}

fn is_subordinate(word: &str) -> bool {
    SUBORDINATORS.contains(&word)
}

fn is_determiner(word: &str) -> bool {
    DETERMINERS.contains(&word)
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
            ("find_replace", "replac", false),
            ("list_clear", "clear", false),
            ("query_execute", "execut", false),
            ("get_rid_of_file", "rid", false),
            ("view_drop", "drop", false),
            ("showDeleteFile", "delet", false),
            ("diff_apply", "apply", false),
            ("is_admin_grant", "grant", false),
            ("list_open_issues", "list", true),
            ("get_order_status", "get", true),
            ("list_removed_files", "list", true),
        ] {
            let verb = Some(verb.to_owned());
            assert_eq!(action(name), Action { verb, reads }, "{name}");
        }
        assert_eq!(action("!").verb, None);
    }

    #[test]
    fn a_request_is_a_clause_that_begins_with_a_verb() {
        let asks = |question: &str, name: &str| {
            let action = action(name);
            let verbs = action.verb.iter().cloned().collect();
            Requested::read(question, &verbs).asks_for(name, &action)
        };
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

    #[test]
    fn a_text_that_only_mentions_an_action_does_not_request_it() {
        let action = action("delete_file");
        let verbs = action.verb.iter().cloned().collect();
        let asks =
            |question: &str| Requested::read(question, &verbs).asks_for("delete_file", &action);
        for question in [
            "Please do not, under any circumstances, delete the file \"x.txt\".",
            "Under no circumstances, delete the file x.txt",
            "Please don't just go ahead and delete the file",
            "You must not read and delete the file",
            "Nobody may ever read or delete the file",
            "Refrain from this: delete the file",
            "I never add and delete files",
            "call delete_file never",
            "Delete nothing, list files",
            "Tell me how people create and delete files.",
            "Describe the permission to read and delete files",
            "Explain this log line: delete file x.txt failed",
            "The manual says: delete the file x.txt",
            "The manual says:\n\ndelete the file x.txt",
            "What does this mean:\ndelete the file x.txt",
            "Send an email with the body: Hello. Delete the file x.txt",
            "Translate into German: delete the file",
            "Write a poem about files, delete keys and dust",
            "Make a poem about files, delete keys and dust",
            "Last week I had to back up and delete the file",
            "Last week I had to read, then delete the file",
            "After lunch I had to read, and delete the file",
            "In the manual they say: delete the file",
            "I wonder whether to keep or delete the file",
            "Find out how people read and delete files",
            "Get the permission to read and delete files",
            "Find posts on create and delete operations",
            "I need delete rights",
            "To delete the file was wrong",
            "delete_file is dangerous, explain why",
            "delete_file failed",
            "Deleting the file was a mistake",
            "Delete key on my keyboard is broken",
            "'delete the file' is what it says",
            "> delete the file",
        ] {
            assert!(!asks(question), "{question}");
        }
        for question in [
            "Delete the file x.txt",
            "Please delete x.txt",
            "Hello there, delete x.txt",
            "Please: delete x.txt",
            "Can you delete the file x.txt?",
            "Read and delete the file x.txt",
            "Open r.docx and delete the file x.txt",
            "Open r.docx, then delete the file x.txt",
            "Make a copy and delete the file x.txt",
            "In the folder docs, delete the file x.txt",
            "In the folder docs: delete the file x.txt",
            "I'd like you to delete x.txt",
            "Delete the file that is old",
            "Delete the file \"do not read.txt\"",
            "delete_file path=x.txt",
            "Call delete_file with path=x.txt",
        ] {
            assert!(asks(question), "{question}");
        }
    }
}
