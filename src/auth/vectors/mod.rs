//! Test vectors: untrusted keys, key sets and tokens, and the expected outcome of each.

mod claim;
mod confusion;
mod developer_key;
mod encoding;
mod jwks;
mod key;
mod set;
pub(super) mod test_keys;
pub(super) mod token;
