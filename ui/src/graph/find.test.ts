import { describe, expect, it } from 'vitest';
import { parse } from './find';
import { nothing, type ViewEdge, type ViewNode } from './model';

function node(rest: Partial<ViewNode> = {}): { node: ViewNode } {
  return {
    node: {
      id: 'workload:default/reviews-v1', kind: 'workload', namespace: 'default', name: 'reviews-v1', app: 'reviews', version: 'v1', cluster: '', root: false, health: 'healthy', reasons: [],
      inbound: { ...nothing(), rps: 2, success: 0.9, p95: 120 }, outbound: nothing(), badges: ['faultInjection'], members: 1, failing: 0, degraded: 0, gateway: false, bare: false, services: ['reviews.default.svc.cluster.local'], ...rest,
    },
  };
}
function edge(rest: Partial<ViewEdge> = {}): { edge: ViewEdge } {
  return { edge: { id: 'e', source: 'a', target: 'b', protocol: 'grpc', traffic: { ...nothing(), rps: 10, success: 0.94, p95: 600, grpcErrors: 0.6 }, health: 'degraded', reasons: [], mtls: 0.5, services: [], responses: [], members: 1, ...rest } };
}
function asks(text: string, element: Parameters<Extract<ReturnType<typeof parse>, { ok: true }>['matches']>[0]): boolean {
  const parsed = parse(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.matches(element);
}
function error(text: string): string {
  const parsed = parse(text);
  return parsed.ok ? '' : parsed.error;
}

describe('find and hide', () => {
  it('compares numbers of nodes and edges', () => {
    expect(asks('httpin > 0.5', node())).toBe(true);
    expect(asks('httpin>2', node())).toBe(false);
    expect(asks('%httperr >= 5', edge())).toBe(true);
    expect(asks('rt > 500', edge())).toBe(true);
    expect(asks('rt > 500ms', node())).toBe(false);
  });
  it('knows flags and their negation, each about its own kind of element', () => {
    expect(asks('!mtls', edge())).toBe(true);
    expect(asks('!mtls', edge({ mtls: 1 }))).toBe(false);
    expect(asks('!mtls', node())).toBe(false);
    expect(asks('healthy', node())).toBe(true);
    expect(asks('NOT healthy', edge())).toBe(true);
    expect(asks('fault', node())).toBe(true);
  });
  it('compares texts', () => {
    expect(asks('name *= rev', node())).toBe(true);
    expect(asks('name ^= views', node())).toBe(false);
    expect(asks('name $= v1', node())).toBe(true);
    expect(asks('namespace = default', node())).toBe(true);
    expect(asks('namespace != default', node())).toBe(false);
    expect(asks('protocol = grpc', edge())).toBe(true);
    expect(asks('name = "reviews-v1"', node())).toBe(true);
    expect(asks('name !*= rev', node())).toBe(false);
  });
  it('joins by AND, OR, NOT, parentheses, and AND where nothing is written', () => {
    expect(asks('name *= rev AND httpin > 1', node())).toBe(true);
    expect(asks('idle OR name = reviews-v1', node())).toBe(true);
    expect(asks('(idle or healthy) and not root', node())).toBe(true);
    expect(asks('reviews httpin > 100', node())).toBe(false);
    expect(asks('mtls OR healthy', node())).toBe(true);
  });
  it('takes a plain word as a part of a name', () => {
    expect(asks('reviews', node())).toBe(true);
    expect(asks('ratings', node())).toBe(false);
    expect(asks('"<img"', node({ name: '<img src=x onerror=alert(1)>' }))).toBe(true);
  });
  it('says errors in words', () => {
    expect(error('htpin > 1')).toContain('Did you mean `httpin`');
    expect(error('httpin > many')).toContain('is none');
    expect(error('httpin >')).toContain('A value is missing');
    expect(error('name > a')).toContain('is a text');
    expect(error('mtls > 4')).toContain('!mtls');
    expect(error('(healthy')).toContain('not closed');
    expect(error('healthy)')).toContain('not opened');
    expect(error('> 4')).toContain('needs a field');
    expect(error('healthy AND')).toContain('missing');
    expect(error('name = "x')).toContain('not closed');
  });
  it('matches nothing where nothing is asked', () => {
    const parsed = parse('  ');
    expect(parsed.ok && parsed.empty).toBe(true);
  });
});
