//! The origins program.
fn main() {}
