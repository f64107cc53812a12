//! Work that would keep a thread of the runtime from its other tasks.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task;

/// So many items or kilobytes take milliseconds.
const MANY: usize = 1000;

/// Does work on so many items, or kilobytes. If that takes long, the runtime gives the thread's other
/// tasks to another thread, where it has several.
pub fn heavy<T>(size: usize, work: impl FnOnce() -> T) -> T {
    let runtime = Handle::try_current().map(|it| it.runtime_flavor());
    match runtime {
        Ok(RuntimeFlavor::MultiThread) if size > MANY => task::block_in_place(work),
        _ => work(),
    }
}
