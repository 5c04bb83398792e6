//! YAML in, configuration out: tables and goldens at translate's border.

mod access;
mod analysis;
mod balancing;
mod connections;
mod custom;
mod delegates;
mod direct;
mod explain;
mod gateways;
mod headless;
mod incremental;
mod ingresses;
mod localities;
mod mesh;
mod mesh_config;
mod on_demand;
mod outline;
mod policies;
mod rate_limits;
mod resilience;
mod rules;
mod scope;
mod security;
mod sidecars;
mod tokens;
mod warnings;
