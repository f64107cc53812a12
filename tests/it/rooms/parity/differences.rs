//! The table of all that may differ between the engine and the recordings.

const OCTOBER_2025: u64 = 1_759_276_800;
const NOVEMBER_2025: u64 = 1_761_955_200;
const YEAR_2026: u64 = 1_767_225_600;
/// Later than any recording: what holds of all of them.
const EVER: u64 = u64::MAX;

/// How the engine may differ, at some keys, from recordings made before a time.
pub struct Difference {
    /// The names of the keys from the event on; an item has that of its type, wherever it stands.
    pub at: &'static [&'static str],
    /// Seconds since 1970.
    pub before: u64,
    pub how: How,
    pub why: &'static str,
}

pub enum How {
    /// The engine has the key, the recording has not.
    New,
    /// The recording has the key, the engine has not.
    Gone,
    /// Both have the key, and their values cannot be alike.
    Value,
    /// The same, but that both are null or neither is.
    ValueUnlessNull,
    /// Of a text that begins so, only the beginning is compared.
    After(&'static str),
}

/// All that may differ at a key. A row that is met nowhere is a failure too.
///
/// Three things more are no matter of one key, and are said where they are done, in `comparison.rs`:
/// ids are numbered as they come up, the keys of events may stand in another order, and
/// several servers may be done in another.
pub const DIFFERENCES: &[Difference] = &[
    differs(
        &["sequence_number"],
        EVER,
        How::Value,
        "checked for gaps instead",
    ),
    differs(&["obfuscation"], EVER, How::Value, "chance"),
    differs(&["response.created_at"], EVER, How::Value, "a time"),
    differs(
        &["response.completed_at"],
        EVER,
        How::ValueUnlessNull,
        "a time",
    ),
    differs(
        &["response.model"],
        EVER,
        How::Value,
        "OpenAI says which version it was",
    ),
    differs(
        &["response.reasoning.effort"],
        EVER,
        How::Value,
        "the default of each model",
    ),
    differs(
        &["response.prompt_cache_retention"],
        EVER,
        How::Value,
        "no prompt cache here",
    ),
    differs(
        &[
            "response.usage.input_tokens",
            "response.usage.output_tokens",
            "response.usage.output_tokens_details.reasoning_tokens",
            "response.usage.total_tokens",
        ],
        EVER,
        How::Value,
        "no tokenizer here",
    ),
    differs(
        &["response.usage.input_tokens_details.cache_write_tokens"],
        EVER,
        How::New,
        "younger than all recordings, and openai-python 3 reads no usage without it",
    ),
    differs(
        &["mcp_call.error.message"],
        EVER,
        How::After("424: "),
        "each in its own words",
    ),
    differs(
        &["reasoning.encrypted_content"],
        EVER,
        How::Value,
        "it grew while the item was open; that of a script does not",
    ),
    differs(
        &["response.tools[].connector_id"],
        EVER,
        How::Gone,
        "a connector is at OpenAI only; a server with a URL stands for it",
    ),
    differs(
        &["response.tools[].server_url"],
        NOVEMBER_2025,
        How::Value,
        "its path was hidden; since then it is echoed whole",
    ),
    differs(
        &["mcp_call.status"],
        OCTOBER_2025,
        How::New,
        "a call had no status",
    ),
    differs(
        &[
            "response.completed_at",
            "response.frequency_penalty",
            "response.moderation",
            "response.presence_penalty",
            "response.prompt_cache_retention",
            "response.reasoning.context",
        ],
        YEAR_2026,
        How::New,
        "the recording of 2026 is the first that has them",
    ),
];

const fn differs(
    at: &'static [&'static str],
    before: u64,
    how: How,
    why: &'static str,
) -> Difference {
    Difference {
        at,
        before,
        how,
        why,
    }
}
