//! Modules in front of a made-up upstream, through a real chain of filters.

mod bodies;
mod calls;
mod failure;
mod fetch;
mod heads;
mod load;
mod proxy;
mod state;
mod wat;
