import { describe, expect, it } from 'vitest';
import type { Graph } from '../api/observe';
import { nothing, signsOf } from './model';
import { narrow, type Wish } from './narrow';

function large(n: number): Graph {
  const nodes: Graph['nodes'] = Array.from({ length: n }, (_, i) => ({ id: `workload:ns${i % 10}/w${i}`, kind: 'workload', namespace: `ns${i % 10}`, name: `w${i}`, root: false, health: i % 50 === 7 ? 'failing' : 'healthy', reasons: [], inbound: { ...nothing(), rps: 1 }, outbound: nothing() }));
  const edges: Graph['edges'] = Array.from({ length: n - 1 }, (_, i) => ({ id: `${nodes[i]!.id}>${nodes[i + 1]!.id}>http`, source: nodes[i]!.id, target: nodes[i + 1]!.id, protocol: 'http', services: [], traffic: { ...nothing(), rps: 1, success: 1 }, health: 'healthy', reasons: [], responses: [], mtls: i === 3 ? 0 : 1, reporter: 'both' }));
  return { at: '', windowS: 60, type: 'workload', nodes, edges, notices: [] };
}
const wish = (rest: Partial<Wish> = {}): Wish => ({ grouping: 'namespace', fold: false, allOpen: false, open: new Set(), find: '', hide: '', ...rest });
const signs = signsOf(undefined);

describe('what is drawn', () => {
  it('folds what is too much, unless it is asked not to', () => {
    expect(narrow(large(400), signs, wish()).view.nodes).toHaveLength(10);
    expect(narrow(large(100), signs, wish()).view.nodes).toHaveLength(100);
    expect(narrow(large(400), signs, wish({ allOpen: true })).view.nodes).toHaveLength(400);
    expect(narrow(large(400), signs, wish({ grouping: 'none' })).view.nodes).toHaveLength(400);
  });
  it('hides before it folds: what is left may be little enough to be shown', () => {
    const few = narrow(large(400), signs, wish({ hide: 'healthy' }));
    expect(few.folded).toBe(false);
    expect(few.view.nodes.every((node) => node.health === 'failing')).toBe(true);
    expect(few.view.whole.nodes).toBe(400);
    expect(few.hidden).toBeGreaterThan(390);
  });
  it('finds inside of folded groups', () => {
    const one = narrow(large(400), signs, wish({ find: 'name = w123' }));
    expect(one.found).toBe(1);
    expect([...one.marked!]).toEqual(['group:ns:ns3']);
    expect(one.inside).toEqual(['ns:ns3']);
    const edge = narrow(large(400), signs, wish({ find: '!mtls' }));
    expect([...edge.marked!]).toEqual(['group:ns:ns3>group:ns:ns4>http']);
  });
  it('tells errors apart', () => {
    expect(narrow(large(5), signs, wish({ find: 'rt >', hide: '(' })).errors).toEqual({ find: expect.any(String), hide: expect.any(String) });
  });
});
