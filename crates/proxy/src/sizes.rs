//! What a connection and an exchange cost in memory while they wait: the sizes of their futures, as promises. A new local
//! variable that lives across an `.await` of a deep call shows here first.

use crate::{connection, request};

/// The size of the future of a function with two arguments.
fn of_two<A, B, F>(_: fn(A, B) -> F) -> usize {
    size_of::<F>()
}

/// The size of the future of a function with five arguments.
fn of_five<A, B, C, D, E, F>(_: fn(A, B, C, D, E) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn futures_stay_small() {
    // In bytes. Every connection has the first for as long as it lives, every exchange under way the second. Lower a
    // bound when the code becomes smaller; raise one only with a reason.
    let connection = of_five(connection::run::<()>);
    for (name, size, bound) in
        [("a connection", connection, CONNECTION), ("an exchange", of_two(request::handle), EXCHANGE)]
    {
        assert!(size <= bound, "the future of {name} has {size} bytes: expected at most {bound}");
    }
}

const CONNECTION: usize = 3200;
const EXCHANGE: usize = 2400;
