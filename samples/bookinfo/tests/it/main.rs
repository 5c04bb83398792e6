//! Bookinfo at its borders: each role's HTTP surface, and the whole application over an in-memory network.

mod network;
mod page;
mod roles;
