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
    let asks = |question: &str| Requested::read(question, &verbs).asks_for("delete_file", &action);
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
