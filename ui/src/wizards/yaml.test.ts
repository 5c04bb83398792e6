import { describe, expect, it } from 'vitest';
import { breakCircuit, choices, duration, injectFault, millisOf, rebalance, routeByHeader, setPatience, shiftTraffic, slide, virtualServiceOf, weightsNow, type Doc, type Shift, type Target } from './yaml';

const target: Target = { namespace: 'default', name: 'reviews', host: 'reviews.default.svc.cluster.local', subsets: [{ name: 'v1', labels: { version: 'v1' } }, { name: 'v2', labels: { version: 'v2' } }], versions: ['v1', 'v2', 'v3'] };
const plain: Target = { ...target, subsets: [] };
const present: Doc = {
  apiVersion: 'networking.istio.io/v1', kind: 'VirtualService', metadata: { name: 'reviews', namespace: 'default', labels: { team: 'a' } },
  spec: { hosts: ['reviews'], http: [{ match: [{ headers: { 'end-user': { exact: 'jason' } } }], route: [{ destination: { host: 'reviews', subset: 'v2' } }] }, { route: [{ destination: { host: 'reviews', subset: 'v1' }, weight: 75 }, { destination: { host: 'reviews', subset: 'v2' }, weight: 25 }], timeout: '3s' }] },
};

describe('shifting traffic', () => {
  it('keeps what others wrote', () => {
    const [doc] = shiftTraffic([present], target, [{ subset: 'v1', weight: 10 }, { subset: 'v2', weight: 90 }]);
    expect(doc!.metadata.labels).toEqual({ team: 'a' });
    expect(doc!.spec.http[0]).toEqual(present.spec.http[0]);
    expect(doc!.spec.http[1]).toEqual({ route: [{ destination: { host: 'reviews', subset: 'v1' }, weight: 10 }, { destination: { host: 'reviews', subset: 'v2' }, weight: 90 }], timeout: '3s' });
    expect(present.spec.http[1].route[0].weight).toBe(75);
  });
  it('makes the subsets that are missing', () => {
    const [rule, doc] = shiftTraffic([], plain, [{ subset: 'v1', weight: 100 }, { subset: 'v3', weight: 0 }]);
    expect(rule!.kind).toBe('DestinationRule');
    expect(rule!.spec.subsets).toEqual([{ name: 'v1', labels: { version: 'v1' } }]);
    expect(doc!.spec.http).toEqual([{ route: [{ destination: { host: 'reviews', subset: 'v1' } }] }]);
  });
  it('moves sliders so that all makes 100', () => {
    const moved = rebalance([{ subset: 'a', weight: 50 }, { subset: 'b', weight: 30 }, { subset: 'c', weight: 20 }], 'a', 33);
    expect(moved.reduce((sum, one) => sum + one.weight, 0)).toBe(100);
    expect(moved[0]!.weight).toBe(33);
    expect(rebalance([{ subset: 'a', weight: 100 }, { subset: 'b', weight: 0 }, { subset: 'c', weight: 0 }], 'a', 40).map((one) => one.weight)).toEqual([40, 30, 30]);
    expect(rebalance([{ subset: 'a', weight: 10 }], 'a', 5)[0]!.weight).toBe(100);
    for (let value = 0; value <= 100; value += 7) expect(rebalance([{ subset: 'a', weight: 34 }, { subset: 'b', weight: 33 }, { subset: 'c', weight: 33 }], 'b', value).reduce((sum, one) => sum + one.weight, 0)).toBe(100);
  });
  it('keeps the shares of the others, however small the steps', () => {
    const shown = (shift: Shift) => shift.weights.map((one) => one.weight);
    let shift: Shift = { weights: [{ subset: 'a', weight: 50 }, { subset: 'b', weight: 30 }, { subset: 'c', weight: 20 }] };
    for (let value = 49; value >= 30; value -= 1) shift = slide(shift, 'a', value);
    expect(shown(shift)).toEqual([30, 42, 28]);
    shift = slide(slide(shift, 'a', 100), 'a', 50);
    expect(shown(shift)).toEqual([50, 30, 20]);
    shift = slide(slide(shift, 'b', 40), 'a', 20);
    expect(shown(shift)).toEqual([20, 56, 24]);
  });
  it('reads the weights as they are', () => {
    expect(weightsNow([present], target)).toEqual([{ subset: 'v1', weight: 75 }, { subset: 'v2', weight: 25 }]);
    expect(weightsNow([], plain).map((one) => one.weight)).toEqual([33, 34, 33]);
    expect(choices(plain)).toEqual(['v1', 'v2', 'v3']);
  });
  it('does not take a VirtualService of a gateway for the one of the mesh', () => {
    expect(virtualServiceOf([{ ...present, spec: { ...present.spec, gateways: ['gw'] } }], target)).toBeUndefined();
    expect(virtualServiceOf([{ ...present, metadata: { name: 'x', namespace: 'other' } }], target)).toBeUndefined();
  });
});

describe('routing, faults, patience and circuits', () => {
  it('puts a header before all other routes, once', () => {
    const wish = { header: 'X-Canary', how: 'exact', value: 'yes', subset: 'v2' } as const;
    const [once] = routeByHeader([present], target, wish);
    const [twice] = routeByHeader([once!], target, { ...wish, subset: 'v1' });
    expect(once!.spec.http).toHaveLength(3);
    expect(twice!.spec.http).toHaveLength(3);
    expect(twice!.spec.http[0]).toEqual({ match: [{ headers: { 'x-canary': { exact: 'yes' } } }], route: [{ destination: { host: 'reviews', subset: 'v1' } }] });
  });
  it('injects a fault, for all or for some, and takes it away', () => {
    const [doc] = injectFault([present], target, { delay: { ms: 2000, percent: 50 }, abort: { status: 503, percent: 10 } });
    expect(doc!.spec.http[1].fault).toEqual({ delay: { percentage: { value: 50 }, fixedDelay: '2s' }, abort: { percentage: { value: 10 }, httpStatus: 503 } });
    expect(Object.keys(doc!.spec.http[1])[0]).toBe('fault');
    const [some] = injectFault([present], target, { abort: { status: 500, percent: 100 }, only: { header: 'end-user', value: 'jason' } });
    expect(some!.spec.http).toHaveLength(2);
    expect(Object.keys(some!.spec.http[0])).toEqual(['match', 'fault', 'route']);
    const [none] = injectFault([doc!], target, {});
    expect(JSON.stringify(none)).not.toContain('"fault"');
  });
  it('sets timeouts and retries on every route', () => {
    const [doc] = setPatience([present], target, { timeoutMs: 1500, attempts: 3, perTryMs: 400, retryOn: '5xx' });
    for (const route of doc!.spec.http) expect(route).toMatchObject({ timeout: '1.5s', retries: { attempts: 3, perTryTimeout: '400ms', retryOn: '5xx' } });
    const [never] = setPatience([doc!], target, { attempts: 0, retryOn: '5xx' });
    for (const route of never!.spec.http) expect(route.retries).toEqual({ attempts: 0 });
    const [none] = setPatience([doc!], target, {});
    expect(JSON.stringify(none)).not.toMatch(/timeout|retries/);
  });
  it('breaks a circuit and keeps subsets', () => {
    const rule: Doc = { apiVersion: 'networking.istio.io/v1', kind: 'DestinationRule', metadata: { name: 'r', namespace: 'default' }, spec: { host: 'reviews', trafficPolicy: { loadBalancer: { simple: 'RANDOM' } }, subsets: target.subsets } };
    const [doc] = breakCircuit([rule], target, { on: true, maxConnections: 10, maxPending: 5, errors: 3, intervalMs: 10_000, ejectMs: 30_000, mostPercent: 50 });
    expect(doc!.spec.trafficPolicy).toEqual({ loadBalancer: { simple: 'RANDOM' }, connectionPool: { tcp: { maxConnections: 10 }, http: { http1MaxPendingRequests: 5 } }, outlierDetection: { consecutive5xxErrors: 3, interval: '10s', baseEjectionTime: '30s', maxEjectionPercent: 50 } });
    expect(doc!.spec.subsets).toEqual(target.subsets);
    const [off] = breakCircuit([doc!], target, { on: false });
    expect(off!.spec.trafficPolicy).toEqual({ loadBalancer: { simple: 'RANDOM' } });
  });
  it('writes and reads durations', () => {
    expect([200, 1000, 1500, 1250, 30_000].map(duration)).toEqual(['200ms', '1s', '1.5s', '1250ms', '30s']);
    expect(['200ms', '1.5s', '2m', 'soon', undefined].map(millisOf)).toEqual([200, 1500, 120_000, undefined, undefined]);
  });
});
