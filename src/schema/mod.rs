//! Untrusted JSON Schemas: walked, summarized and validated within one budget of work.
//!
//! A tool's `inputSchema` comes from its server. A few kilobytes of it can stand for millions of
//! schemas once each `$ref` is followed, so nothing here recurses along a reference, everything
//! spends [`Work`], and what does not fit says so with [`TooLarge`].

mod resolve;
mod types;
mod validate;
mod walk;
mod work;

pub use resolve::{Kind, Resolved, resolve};
pub use types::{Type, shortened};
pub use validate::{Checked, Violation, validate};
pub use walk::subschemas;
pub use work::{TooLarge, Work};
