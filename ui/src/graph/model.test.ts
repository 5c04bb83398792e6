import { describe, expect, it } from 'vitest';
import type { Graph } from '../api/observe';
import { nothing, signsOf, together, viewOf, worst } from './model';

function graph(): Graph {
  const base = { root: false, reasons: [], outbound: nothing() };
  const node = (namespace: string, name: string, health: 'healthy' | 'failing' = 'healthy') => ({ ...base, id: `workload:${namespace}/${name}`, kind: 'workload' as const, namespace, name, app: name, version: 'v1', health, inbound: { ...nothing(), rps: 1 } });
  const edge = (source: string, target: string, rps: number, success: number, p95: number) => ({ id: `${source}>${target}>http`, source, target, protocol: 'http' as const, services: [], traffic: { ...nothing(), rps, success, p50: 1, p95 }, health: 'healthy' as const, reasons: [], responses: [{ code: '200', flags: '-', requests: 60 * rps, rps }], mtls: 1, reporter: 'both' as const });
  return {
    at: '', windowS: 60, type: 'workload', notices: [],
    nodes: [node('a', 'one'), node('a', 'two', 'failing'), node('b', 'three'), { ...node('', 'unknown'), id: 'unknown', kind: 'unknown' }],
    edges: [edge('unknown', 'workload:a/one', 3, 1, 10), edge('workload:a/one', 'workload:b/three', 3, 1, 10), edge('workload:a/two', 'workload:b/three', 1, 0.5, 90), edge('workload:a/one', 'workload:a/two', 9, 1, 5)],
  };
}

describe('folding', () => {
  it('makes one node of a namespace, and one edge of what runs between two', () => {
    const view = viewOf(graph(), signsOf(undefined), { grouping: 'namespace', fold: true, open: new Set() });
    expect(view.nodes.map((node) => node.id).sort()).toEqual(['group:ns:a', 'group:ns:b', 'unknown']);
    expect(view.edges).toHaveLength(2);
    const edge = view.edges.find((one) => one.source === 'group:ns:a')!;
    expect(edge.traffic.rps).toBe(4);
    expect(edge.traffic.success).toBeCloseTo(0.875);
    expect(edge.traffic.p95).toBe(90);
    expect(edge.members).toBe(2);
    expect(edge.responses).toEqual([{ code: '200', flags: '-', requests: 240, rps: 4 }]);
    const a = view.nodes.find((node) => node.id === 'group:ns:a')!;
    expect(a.members).toBe(2);
    expect(a.failing).toBe(1);
    expect(a.outbound.rps).toBe(4);
    expect(a.inbound.rps).toBe(3);
  });
  it('opens a group without touching the others', () => {
    const view = viewOf(graph(), signsOf(undefined), { grouping: 'namespace', fold: true, open: new Set(['ns:a']) });
    expect(view.nodes.map((node) => node.id).sort()).toEqual(['group:ns:b', 'unknown', 'workload:a/one', 'workload:a/two']);
    expect(view.boxes.map((box) => box.id)).toEqual(['ns:a']);
    expect(view.edges).toHaveLength(4);
  });
  it('loses no request by folding', () => {
    const whole = viewOf(graph(), signsOf(undefined), { grouping: 'none', fold: false, open: new Set() });
    expect(whole.edges).toHaveLength(4);
    expect(whole.nodes).toHaveLength(4);
    expect(together(whole.edges.map((edge) => edge.traffic)).rps).toBe(16);
  });
  it('knows which health is worse', () => {
    expect(worst('healthy', 'failing')).toBe('failing');
    expect(worst('idle', 'healthy')).toBe('healthy');
  });
});
