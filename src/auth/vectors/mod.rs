//! What strangers send as keys, key sets and tokens, and what becomes of each.

mod claim;
mod confusion;
mod developer_key;
mod encoding;
mod jwks;
mod key;
mod set;
pub(super) mod test_keys;
pub(super) mod token;
