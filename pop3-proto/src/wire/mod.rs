//! Framing and grammar: pure functions on bytes.

pub(crate) mod command;
pub(crate) mod line;
pub(crate) mod reply;
pub(crate) mod stuff;
pub(crate) mod top;
