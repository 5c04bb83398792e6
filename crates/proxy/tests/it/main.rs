//! A mesh in one process: proxies on threads of their own, origins and clients on loopback.

mod access;
mod concurrency;
mod control;
mod dialled;
mod edge;
mod ext_authz;
mod files;
mod filters;
mod hedge;
mod http;
mod life;
mod mesh;
mod named;
mod on_demand;
mod pipes;
mod plane;
mod rate_limits;
mod reasons;
mod report;
mod resilience;
mod rig;
mod room;
mod sticky;
mod tcp;
mod tokens;
mod tunnels;
