//! placeholder head
fn main() {}
