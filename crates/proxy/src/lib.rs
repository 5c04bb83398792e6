//! head
#![allow(dead_code)]
mod admin;
mod apply;
pub mod bootstrap;
mod connection;
mod dns;
mod drain;
mod dump;
mod edge;
mod forward;
mod head;
mod http;
mod http_plan;
mod inspect;
mod limits;
mod listener;
mod live;
mod log;
mod node;
mod peer;
mod record;
mod replay;
mod request;
mod respond;
mod run;
mod secrets;
mod series;
mod state;
mod status;
mod tcp;
mod trace;
mod upgrade;
mod warm;
mod worker;

pub use run::{Handle, LogLevel, Options, Proxy, StartError};
pub use state::ResourcesError;
