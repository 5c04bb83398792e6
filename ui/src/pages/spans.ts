/** Spans as a tree in the order in which they are shown. Pure. */
import type { TraceSpan } from '../api/observe';

export interface Placed {
  span: TraceSpan;
  depth: number;
  children: number;
  /** Time of its own: without what its children take. */
  selfUs: number;
}

/** Parents before children, children by their start. Spans whose parent is missing stand at the top; circles are cut. */
export function tree(spans: TraceSpan[], folded: Set<string>): Placed[] {
  const ids = new Set(spans.map((span) => span.spanId));
  const under = new Map<string | undefined, TraceSpan[]>();
  for (const span of spans) {
    const parent = span.parentId && ids.has(span.parentId) && span.parentId !== span.spanId ? span.parentId : undefined;
    const list = under.get(parent);
    if (list) list.push(span);
    else under.set(parent, [span]);
  }
  const out: Placed[] = [];
  const seen = new Set<TraceSpan>();
  const walk = (list: TraceSpan[], depth: number) => {
    for (const span of [...list].sort((a, b) => a.offsetUs - b.offsetUs)) {
      if (seen.has(span)) continue;
      seen.add(span);
      const children = under.get(span.spanId) ?? [];
      out.push({ span, depth, children: children.length, selfUs: Math.max(0, span.durationUs - covered(span, children)) });
      if (!folded.has(span.spanId)) walk(children, depth + 1);
      else hide(children);
    }
  };
  const hide = (list: TraceSpan[]) => {
    for (const span of list) {
      if (seen.has(span)) continue;
      seen.add(span);
      hide(under.get(span.spanId) ?? []);
    }
  };
  walk(under.get(undefined) ?? [], 0);
  // What stands in a circle has no top: it is shown all the same.
  walk(spans.filter((span) => !seen.has(span)), 0);
  return out;
}

/** How much of a span its children cover, each moment counted once. */
function covered(span: TraceSpan, children: TraceSpan[]): number {
  const parts = children.map((child) => [Math.max(child.offsetUs, span.offsetUs), Math.min(child.offsetUs + child.durationUs, span.offsetUs + span.durationUs)] as const).filter(([a, b]) => b > a).sort((a, b) => a[0] - b[0]);
  let total = 0;
  let end = -Infinity;
  for (const [a, b] of parts) {
    total += Math.max(0, b - Math.max(a, end));
    end = Math.max(end, b);
  }
  return total;
}

/** Round marks of a scale, in microseconds. */
export function marks(totalUs: number, most = 5): number[] {
  if (totalUs <= 0) return [0];
  const raw = totalUs / most;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= raw) ?? raw;
  return Array.from({ length: Math.floor(totalUs / step) + 1 }, (_, i) => i * step);
}
