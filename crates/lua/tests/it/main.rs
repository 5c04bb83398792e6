//! Scripts in a chain: what they see, change and ask, and how they fail.

mod bodies;
mod calls;
mod heads;
mod rig;
mod wrong;
