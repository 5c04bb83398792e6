import { describe, expect, it } from 'vitest';
import type { TraceSpan } from '../api/observe';
import { marks, tree } from './spans';

const span = (spanId: string, parentId: string | undefined, offsetUs: number, durationUs: number): TraceSpan => ({ spanId, parentId, service: 's', name: spanId, kind: 'server', offsetUs, durationUs, error: false, attributes: [], events: [] });

describe('the tree of spans', () => {
  it('puts parents before children, children by their start', () => {
    const rows = tree([span('c', 'a', 60, 20), span('b', 'a', 10, 40), span('a', undefined, 0, 100)], new Set());
    expect(rows.map((row) => [row.span.spanId, row.depth])).toEqual([['a', 0], ['b', 1], ['c', 1]]);
    expect(rows[0]!.selfUs).toBe(40);
  });
  it('counts overlapping children once', () => {
    expect(tree([span('a', undefined, 0, 100), span('b', 'a', 0, 60), span('c', 'a', 30, 60)], new Set())[0]!.selfUs).toBe(10);
  });
  it('shows orphans and circles, and each span once', () => {
    const rows = tree([span('x', 'gone', 0, 1), span('p', 'q', 0, 1), span('q', 'p', 0, 1), span('self', 'self', 0, 1)], new Set());
    expect(rows.map((row) => row.span.spanId).sort()).toEqual(['p', 'q', 'self', 'x']);
  });
  it('folds', () => {
    expect(tree([span('a', undefined, 0, 9), span('b', 'a', 0, 5), span('c', 'b', 0, 2)], new Set(['b'])).map((row) => row.span.spanId)).toEqual(['a', 'b']);
  });
  it('makes round marks', () => {
    expect(marks(1000)).toEqual([0, 200, 400, 600, 800, 1000]);
    expect(marks(0)).toEqual([0]);
  });
});
