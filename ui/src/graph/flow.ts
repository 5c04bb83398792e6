/** How traffic moves on an edge: pure numbers behind the animation. Speed tells latency, density tells rate. */
import { errorShare, tcpRate, type ViewEdge } from './model';

/** Pixels a second: 150 for what answers at once, falling with the logarithm of the latency to 15 at 10 s and above. */
export function speedOf(ms: number | undefined): number {
  if (ms === undefined || ms <= 0) return 150;
  const t = Math.min(1, Math.log10(1 + ms / 10) / Math.log10(1 + 10_000 / 10));
  return 150 - 135 * t;
}

/** Dots a second: the rate itself as long as that can be seen, above that in proportion to the busiest edge, damped. */
export function dotsPerSecond(rate: number, busiest: number): number {
  if (rate <= 0) return 0;
  const plain = busiest <= 10 ? rate : 10 * (rate / busiest) ** 0.55;
  return Math.min(10, Math.max(0.15, plain));
}

export interface Flow {
  kind: 'http' | 'grpc' | 'tcp';
  speed: number;
  perSecond: number;
  errors: number;
}

/** The flows of all edges. TCP counts as a dot for each 20 B/s. With more dots in flight than `cap` all are thinned alike. */
export function flows(edges: { edge: ViewEdge; length: number }[], cap: number): Map<string, Flow> {
  // Bytes and requests are not compared with each other.
  const busiest = { http: 0, grpc: 0, tcp: 0 };
  const rate = (edge: ViewEdge) => (edge.protocol === 'tcp' ? tcpRate(edge.traffic) / 20 : edge.traffic.rps);
  for (const { edge } of edges) {
    const kinds = edge.protocol === 'tcp' ? (['tcp'] as const) : (['http', 'grpc'] as const);
    for (const kind of kinds) busiest[kind] = Math.max(busiest[kind], rate(edge));
  }
  const out = new Map<string, Flow>();
  let flying = 0;
  for (const { edge, length } of edges) {
    const perSecond = dotsPerSecond(rate(edge), busiest[edge.protocol]) * (edge.protocol === 'tcp' ? 0.5 : 1);
    if (perSecond === 0) continue;
    const speed = edge.protocol === 'tcp' ? 120 : speedOf(edge.traffic.p50 ?? edge.traffic.mean);
    flying += (perSecond * length) / speed;
    out.set(edge.id, { kind: edge.protocol, speed, perSecond, errors: errorShare(edge.traffic) });
  }
  if (flying > cap) for (const flow of out.values()) flow.perSecond *= cap / flying;
  return out;
}
