//! The gentle load that makes the demo's mesh alive.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use super::web;

/// Asks for the product page at a steady rate, for ever; a rate of zero asks never.
pub async fn run(gateway: SocketAddr, rate: f64) -> Infallible {
    if rate <= 0.0 {
        return std::future::pending().await;
    }
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        tokio::spawn(web::get(gateway, "/productpage"));
    }
}
