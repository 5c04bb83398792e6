import { describe, expect, it } from 'vitest';
import { dotsPerSecond, flows, speedOf } from './flow';
import { place } from './layout';
import { nothing, type ViewEdge } from './model';

const edge = (id: string, rps: number, p50: number, success = 1): ViewEdge => ({ id, source: 'a', target: 'b', protocol: 'http', traffic: { ...nothing(), rps, p50, success }, health: 'healthy', reasons: [], services: [], responses: [], members: 1 });

describe('animation', () => {
  it('is slower with latency, between bounds', () => {
    expect(speedOf(undefined)).toBe(150);
    expect(speedOf(5)).toBeGreaterThan(speedOf(50));
    expect(speedOf(50)).toBeGreaterThan(speedOf(500));
    expect(speedOf(10_000)).toBeCloseTo(15);
    expect(speedOf(1e9)).toBeCloseTo(15);
  });
  it('is denser with rate, one dot a request where that can be seen', () => {
    expect(dotsPerSecond(0, 5)).toBe(0);
    expect(dotsPerSecond(3, 5)).toBe(3);
    expect(dotsPerSecond(1000, 1000)).toBe(10);
    expect(dotsPerSecond(10, 1000)).toBeLessThan(dotsPerSecond(100, 1000));
    expect(dotsPerSecond(0.0001, 1000)).toBeGreaterThan(0);
  });
  it('keeps the number of dots in flight under the cap', () => {
    const many = Array.from({ length: 500 }, (_, i) => ({ edge: edge(`e${i}`, 100, 900), length: 400 }));
    const all = [...flows(many, 300).values()].reduce((sum, flow) => sum + (flow.perSecond * 400) / flow.speed, 0);
    expect(all).toBeLessThanOrEqual(300.001);
  });
  it('tells the share of errors', () => {
    expect(flows([{ edge: edge('x', 4, 10, 0.75), length: 100 }], 100).get('x')?.errors).toBeCloseTo(0.25);
  });
});

describe('layout', () => {
  it('puts callers before the called, and boxes beside each other', () => {
    const seat = (id: string, box?: string) => ({ id, w: 100, h: 40, box });
    const placed = place({ nodes: [seat('a'), seat('b', 'x'), seat('c', 'x'), seat('d', 'y'), seat('lone', 'y')], edges: [{ id: '1', source: 'a', target: 'b', weight: 1 }, { id: '2', source: 'b', target: 'c', weight: 1 }, { id: '3', source: 'c', target: 'd', weight: 1 }], down: false, aspect: 1.6 });
    const { a, b, c, d, lone } = placed.spots;
    expect(a!.x).toBeLessThan(b!.x);
    expect(b!.x).toBeLessThan(c!.x);
    expect(c!.x).toBeLessThan(d!.x);
    expect(lone).toBeDefined();
  });
  it('takes a thousand nodes and five thousand edges in reasonable time', () => {
    const nodes = Array.from({ length: 1000 }, (_, i) => ({ id: `n${i}`, w: 168, h: 46, box: `ns${i % 40}` }));
    const edges = Array.from({ length: 5000 }, (_, i) => ({ id: `e${i}`, source: `n${(i * 7) % 1000}`, target: `n${(i * 13 + 40) % 1000}`, weight: i % 17 }));
    const before = performance.now();
    const placed = place({ nodes, edges, down: false, aspect: 1.6 });
    expect(Object.keys(placed.spots)).toHaveLength(1000);
    expect(performance.now() - before).toBeLessThan(10_000);
  });
});
