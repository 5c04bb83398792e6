//! What a connection and an exchange cost in memory while they wait: the sizes of their futures, as promises. A new local
//! variable that lives across an `.await` of a deep call shows here first.

use crate::{http, request, tcp};

/// The size of the future of a function with two arguments.
fn of_two<A, B, F>(_: fn(A, B) -> F) -> usize {
    size_of::<F>()
}

/// The size of the future of a function with six arguments, the last of which takes no room.
fn of_six<A, B, C, D, E, F>(_: fn(A, B, C, D, E, ()) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn futures_stay_small() {
    // In bytes. Every connection has one of the first two for as long as it lives, every exchange under way the last.
    // Lower a bound when the code becomes smaller; raise one only with a reason.
    for (name, size, bound) in [
        ("an HTTP connection", of_six(http::serve), 1150),
        ("a TCP connection", of_six(tcp::run), 1400),
        ("an exchange", of_two(request::handle), 2456),
    ] {
        assert!(size <= bound, "the future of {name} has {size} bytes: expected at most {bound}");
    }
}
