//! Real launches in real namespaces, as root (if the tests run as root) and as a user without rights. Where the kernel
//! gives no namespaces, what needs them prints a line that begins with `skipped`.

mod beside;
mod captured;
mod rig;
mod supervised;
