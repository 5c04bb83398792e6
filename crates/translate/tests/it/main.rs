//! YAML in, configuration out: tables and goldens at translate's border.

mod access;
mod analysis;
mod balancing;
mod connections;
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
mod other_access;
mod outline;
mod policies;
mod resilience;
mod rules;
mod scope;
mod security;
mod sidecars;
mod tokens;
mod warnings;
