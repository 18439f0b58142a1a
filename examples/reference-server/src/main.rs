//! The mail server `pillarboxd`.
fn main() {}
