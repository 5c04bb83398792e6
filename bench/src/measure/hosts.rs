//! What finding the virtual host costs: CPU per request with more and more of them.

use anyhow::bail;

use super::{Bench, Field};
use crate::load::{Load, Pace, Shape};
use crate::origin::Origin;
use crate::scenario::{Figure, Path};

/// So many virtual hosts, and the figure for them.
const STEPS: [(usize, Figure); 4] = [
    (10, Figure::Cpu10Hosts),
    (100, Figure::Cpu100Hosts),
    (1000, Figure::Cpu1000Hosts),
    (10_000, Figure::Cpu10000Hosts),
];

impl Bench<'_> {
    /// All hosts lead to one cluster: else the pools of many clusters would be measured, not the lookup.
    pub(super) fn hosts(&self, origin: &Origin, shape: Shape, field: &mut Field) -> anyhow::Result<()> {
        self.rounds(field, |peer, program, samples| {
            let mut costs = Vec::new();
            for (hosts, figure) in STEPS {
                let path = Path::Services { hosts, clusters: 1 };
                let (mut running, _dir) = self.start_on(path, peer, program, origin)?;
                let shape = Shape { exchange: shape.exchange.across(hosts), ..shape };
                let spent = self.full_load(origin, &mut running, |to| Load::start(to, shape, Pace::Full))?;
                if spent.done == 0.0 {
                    bail!("no answer with {hosts} virtual hosts");
                }
                let cost = spent.total * 1e6 / spent.done;
                samples.add(figure, cost);
                costs.push(cost);
            }
            if let (Some(few), Some(many)) = (costs.first(), costs.last()) {
                samples.add(Figure::HostsRatio, many / few);
            }
            Ok(())
        })
    }
}
