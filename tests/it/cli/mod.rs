//! The binary: exit status, stdout and stderr of each run.

mod ask;
mod hosted;
mod serve;
mod token;
mod usage;
