//! A record in memory: compressed, and in pieces of one size.

use std::sync::Arc;

use bytes::Bytes;
use lz4_flex::block::{compress_with_dict, decompress_with_dict};

/// How long a piece is; the last one may be shorter. An allocator rounds a size up by as much as a
/// quarter, but has this one.
const PIECE: usize = 1024;

/// What most records have in common. It is never written, so that it may change at any time.
const COMMON: &[u8] = concat!(
    r#"{"type":"mcp_call","approval_request_id":null,"arguments":"{\"","error":null,"name":""#,
    r#""output":"","server_label":"","status":"completed"},{"id":"mcpl_","type":"mcp_list_tools","#,
    r#""tools":[{"annotations":{"readOnlyHint":true},"description":"","input_schema":{"type":"object","#,
    r#""additionalProperties":false,"properties":{"type":"string"},"required":[""]},"name":""}],"#,
    r#"{"id":"fc_","type":"function_call","call_id":"call_","summary":[],"encrypted_content":"#,
    r#"{"response":{"id":"resp_","object":"response","created_at":1,"status":"completed","#,
    r#""background":false,"billing":{"payer":"developer"},"completed_at":1,"error":null,"#,
    r#""frequency_penalty":0.0,"incomplete_details":null,"instructions":null,"max_output_tokens":null,"#,
    r#""max_tool_calls":null,"model":"","moderation":null,"output":[{"id":"msg_","type":"message","#,
    r#""status":"completed","content":[{"type":"output_text","annotations":[],"logprobs":[],"text":""}],"#,
    r#""role":"assistant"}],"parallel_tool_calls":true,"presence_penalty":0.0,"#,
    r#""previous_response_id":null,"prompt_cache_key":null,"prompt_cache_retention":null,"#,
    r#""reasoning":{"context":null,"effort":null,"summary":null},"safety_identifier":null,"#,
    r#""service_tier":"default","store":true,"temperature":1.0,"text":{"format":{"type":"text"},"#,
    r#""verbosity":"medium"},"tool_choice":"auto","tools":[],"top_logprobs":0,"top_p":1.0,"#,
    r#""truncation":"disabled","usage":{"input_tokens":,"input_tokens_details":{"cached_tokens":0,"#,
    r#""cache_write_tokens":0},"output_tokens":,"output_tokens_details":{"reasoning_tokens":0},"#,
    r#""total_tokens":},"user":null,"metadata":{}},"input":[{"id":"msg_","type":"message","#,
    r#""status":"completed","content":[{"type":"input_text","text":""}],"role":"user"}]}"#,
)
.as_bytes();

/// Cloning shares the bytes.
#[derive(Debug, Clone)]
pub struct Packed {
    pieces: Arc<[Box<[u8]>]>,
    /// How long the record is, if it is compressed.
    unpacked: Option<usize>,
}

impl Packed {
    pub fn new(record: &[u8]) -> Self {
        let compressed = compress_with_dict(record, COMMON);
        let (bytes, unpacked) = match compressed.len() < record.len() {
            true => (&*compressed, Some(record.len())),
            false => (record, None),
        };
        Self {
            pieces: bytes.chunks(PIECE).map(Box::from).collect(),
            unpacked,
        }
    }

    /// The record, or nothing if its bytes are not what [`Packed::new`] made.
    pub fn unpack(&self) -> Option<Bytes> {
        let bytes = self.pieces.concat();
        let record = match self.unpacked {
            Some(length) => decompress_with_dict(&bytes, length, COMMON).ok()?,
            None => bytes,
        };
        Some(record.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::engine::response::Draft;

    impl Packed {
        fn bytes(&self) -> usize {
            self.pieces.iter().map(|piece| piece.len()).sum()
        }
    }

    proptest! {
        #[test]
        fn a_record_is_what_was_packed(record: Vec<u8>, places in proptest::collection::vec(0..COMMON.len(), 0..9)) {
            let mut long = record;
            for place in places {
                long.extend_from_slice(&COMMON[place..]);
                long.push(0);
            }
            prop_assert_eq!(Packed::new(&long).unpack().unwrap(), &long);
        }
    }

    #[test]
    fn what_every_response_has_takes_little_room() {
        let request = serde_json::from_value(json!({"input": "Hi"})).unwrap();
        let response = Draft::new(&request, "rules", "resp_1", 1).begun();
        let record = json!({"response": response, "input": []}).to_string();
        let packed = Packed::new(record.as_bytes());
        assert!(packed.bytes() < record.len() / 4, "{}", packed.bytes());
    }

    #[test]
    fn what_cannot_be_compressed_takes_no_more_than_it_is_long() {
        let mut seed = 1_u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed.to_be_bytes()[0]
        })
        .take(10_000)
        .collect();
        let packed = Packed::new(&noise);
        assert_eq!(packed.bytes(), noise.len());
        assert_eq!(packed.unpack().unwrap(), noise);
    }
}
