/**
 * Where nodes stand. Two steps: inside of each box, then the boxes among themselves, both in layers along the calls. So
 * boxes never overlap, and a thousand nodes cost little more than the largest box. Pure; runs in a worker.
 */
import * as dagre from '@dagrejs/dagre';

export interface Spot {
  x: number;
  y: number;
}
export interface Seat {
  id: string;
  w: number;
  h: number;
  box?: string;
}
export interface Plan {
  nodes: Seat[];
  edges: { id: string; source: string; target: string; weight: number }[];
  /** From left to right, or from top to bottom on narrow screens. */
  down: boolean;
  /** Width by height of the room, for what is laid in rows. */
  aspect: number;
}
export interface Placed {
  spots: Record<string, Spot>;
  /** Points between the ends of edges that go around something. */
  bends: Record<string, Spot[]>;
}

const pad = { x: 8, top: 44, bottom: 10 };

/** Only the strongest calls decide where things stand: layering thousands of edges costs much and shows nothing. */
function strongest<E extends { source: string; target: string; weight: number }>(edges: E[], nodes: number): E[] {
  const most = nodes * 2 + 40;
  if (edges.length <= most) return edges;
  const into = new Map<string, number>();
  const out: E[] = [];
  for (const edge of [...edges].sort((a, b) => b.weight - a.weight)) {
    const n = into.get(edge.target) ?? 0;
    if (n >= 2) continue;
    into.set(edge.target, n + 1);
    out.push(edge);
  }
  return out;
}

/** Nodes without calls among each other stand in rows. */
function rows(seats: Seat[], aspect: number): { spots: Record<string, Spot>; w: number; h: number } {
  const spots: Record<string, Spot> = {};
  if (seats.length === 0) return { spots, w: 0, h: 0 };
  const w = Math.max(...seats.map((seat) => seat.w)) + 4;
  const h = Math.max(...seats.map((seat) => seat.h)) + 6;
  const across = Math.max(1, Math.round(Math.sqrt((seats.length * h * aspect) / w)));
  seats.forEach((seat, i) => (spots[seat.id] = { x: (i % across) * w + w / 2, y: Math.floor(i / across) * h + h / 2 }));
  return { spots, w: Math.min(across, seats.length) * w, h: Math.ceil(seats.length / across) * h };
}

function layered(seats: Seat[], edges: Plan['edges'], down: boolean, aspect: number, gaps: { rank: number; node: number }): { spots: Record<string, Spot>; bends: Record<string, Spot[]>; w: number; h: number } {
  const ids = new Set(seats.map((seat) => seat.id));
  const own = edges.filter((edge) => ids.has(edge.source) && ids.has(edge.target) && edge.source !== edge.target);
  const touched = new Set(own.flatMap((edge) => [edge.source, edge.target]));
  const loose = seats.filter((seat) => !touched.has(seat.id));
  const bound = seats.filter((seat) => touched.has(seat.id));
  const spots: Record<string, Spot> = {};
  const bends: Record<string, Spot[]> = {};
  let w = 0;
  let h = 0;
  if (bound.length > 0) {
    const graph = new dagre.graphlib.Graph({ multigraph: true });
    graph.setGraph({ rankdir: down ? 'TB' : 'LR', ranksep: gaps.rank, nodesep: gaps.node, edgesep: 16, marginx: 0, marginy: 0, ranker: bound.length > 120 ? 'longest-path' : 'network-simplex' });
    graph.setDefaultEdgeLabel(() => ({}));
    for (const seat of bound) graph.setNode(seat.id, { width: seat.w, height: seat.h });
    for (const edge of strongest(own, bound.length)) graph.setEdge(edge.source, edge.target, { weight: 1 + Math.min(4, Math.log10(1 + edge.weight)) }, edge.id);
    dagre.layout(graph);
    for (const seat of bound) {
      const at = graph.node(seat.id) as Spot;
      spots[seat.id] = { x: at.x, y: at.y };
      w = Math.max(w, at.x + seat.w / 2);
      h = Math.max(h, at.y + seat.h / 2);
    }
    for (const edge of graph.edges()) {
      const points = ((graph.edge(edge) as { points?: Spot[] }).points ?? []).slice(1, -1);
      // One point in the middle is where the straight line passes anyway.
      if (points.length > 1 && edge.name) bends[edge.name] = points.map((point) => ({ x: point.x, y: point.y }));
    }
  }
  if (loose.length > 0) {
    const stand = rows(loose, bound.length > 0 ? Math.max(1, (w * w) / Math.max(1, loose.length * 9000)) : aspect);
    const top = bound.length > 0 ? h + 28 : 0;
    for (const [id, spot] of Object.entries(stand.spots)) spots[id] = { x: spot.x, y: spot.y + top };
    w = Math.max(w, stand.w);
    h = top + stand.h;
  }
  return { spots, bends, w, h };
}

/** Columns that fill the room, in the order of the layers: for what calls so much across that layers become a long band. */
function shelves(seats: Seat[], order: Record<string, Spot>, aspect: number, gap: { x: number; y: number }): { spots: Record<string, Spot>; w: number; h: number } {
  const sorted = [...seats].sort((a, b) => order[a.id]!.x - order[b.id]!.x || order[a.id]!.y - order[b.id]!.y);
  const area = seats.reduce((sum, seat) => sum + (seat.w + gap.x) * (seat.h + gap.y), 0);
  const tall = Math.max(Math.sqrt(area / aspect), ...seats.map((seat) => seat.h + gap.y));
  const spots: Record<string, Spot> = {};
  let left = 0;
  let h = 0;
  for (let i = 0; i < sorted.length; ) {
    const column: Seat[] = [];
    let used = 0;
    while (i < sorted.length && (column.length === 0 || used + sorted[i]!.h + gap.y <= tall * 1.04)) {
      used += sorted[i]!.h + gap.y;
      column.push(sorted[i]!);
      i += 1;
    }
    column.sort((a, b) => order[a.id]!.y - order[b.id]!.y);
    const wide = Math.max(...column.map((seat) => seat.w));
    let top = 0;
    for (const seat of column) {
      spots[seat.id] = { x: left + wide / 2, y: top + seat.h / 2 };
      top += seat.h + gap.y;
    }
    left += wide + gap.x;
    h = Math.max(h, top);
  }
  return { spots, w: left, h };
}

/** Where things stand roughly along the calls: the depth from where traffic begins, and beside whom calls them. Cheap. */
function rough(seats: Seat[], edges: Plan['edges']): Record<string, Spot> {
  const into = new Map<string, Plan['edges']>();
  const from = new Map<string, Plan['edges']>();
  for (const edge of edges) {
    into.set(edge.target, [...(into.get(edge.target) ?? []), edge]);
    from.set(edge.source, [...(from.get(edge.source) ?? []), edge]);
  }
  const depth = new Map<string, number>();
  const share = (id: string) => (from.get(id) ?? []).reduce((sum, edge) => sum + edge.weight, 0) - (into.get(id) ?? []).reduce((sum, edge) => sum + edge.weight, 0);
  const waiting = [...seats].sort((a, b) => share(b.id) - share(a.id)).map((seat) => seat.id);
  let queue = waiting.filter((id) => !into.has(id));
  if (queue.length === 0) queue = waiting.slice(0, 1);
  for (let level = 0; depth.size < seats.length; level += 1) {
    if (queue.length === 0) queue = waiting.filter((id) => !depth.has(id)).slice(0, 1);
    const next = new Set<string>();
    for (const id of queue) if (!depth.has(id)) depth.set(id, level);
    for (const id of queue) for (const edge of from.get(id) ?? []) if (!depth.has(edge.target)) next.add(edge.target);
    queue = [...next];
  }
  const spots: Record<string, Spot> = {};
  const byDepth = [...seats].sort((a, b) => depth.get(a.id)! - depth.get(b.id)!);
  const rows = new Map<number, number>();
  for (const seat of byDepth) {
    const level = depth.get(seat.id)!;
    const callers = (into.get(seat.id) ?? []).map((edge) => spots[edge.source]?.y).filter((y): y is number => y !== undefined);
    const row = rows.get(level) ?? 0;
    rows.set(level, row + 1);
    spots[seat.id] = { x: level, y: callers.length > 0 ? callers.reduce((sum, y) => sum + y, 0) / callers.length + row / 1000 : row };
  }
  return spots;
}

export function place(plan: Plan): Placed {
  const boxes = new Map<string, Seat[]>();
  for (const seat of plan.nodes) if (seat.box) boxes.set(seat.box, [...(boxes.get(seat.box) ?? []), seat]);
  const inner = new Map<string, ReturnType<typeof layered>>();
  const seatOf = new Map<string, string>();
  const top: Seat[] = [];
  for (const [id, seats] of boxes) {
    const own = layered(seats, plan.edges, plan.down, 1.4, plan.down ? { rank: 26, node: 6 } : { rank: 34, node: 10 });
    inner.set(id, own);
    top.push({ id: `box ${id}`, w: own.w + 2 * pad.x, h: own.h + pad.top + pad.bottom });
    for (const seat of seats) seatOf.set(seat.id, `box ${id}`);
  }
  for (const seat of plan.nodes) {
    if (seat.box) continue;
    top.push(seat);
    seatOf.set(seat.id, seat.id);
  }
  const between = new Map<string, Plan['edges'][number]>();
  for (const edge of plan.edges) {
    const source = seatOf.get(edge.source);
    const target = seatOf.get(edge.target);
    if (!source || !target || source === target) continue;
    const whole = !source.startsWith('box ') && !target.startsWith('box ');
    const key = whole ? edge.id : `${source}>${target}`;
    const found = between.get(key);
    if (found) found.weight += edge.weight;
    else between.set(key, { ...edge, id: key, source, target });
  }
  // What calls so much across does not lie in layers: columns in the order of the calls, then.
  const dense = top.length > 24 && between.size > top.length * 2;
  const outer = dense ? { spots: rough(top, [...between.values()]), bends: {}, w: Infinity, h: 1 } : layered(top, [...between.values()], plan.down, plan.aspect, plan.down ? { rank: 40, node: 18 } : boxes.size > 0 ? { rank: 40, node: 30 } : { rank: 52, node: 14 });
  if (top.length > 12) {
    const packed = shelves(top, outer.spots, plan.aspect, boxes.size > 0 ? { x: 40, y: 36 } : { x: 34, y: 26 });
    const zoom = (one: { w: number; h: number }) => Math.min(plan.aspect / Math.max(1, one.w), 1 / Math.max(1, one.h));
    if (zoom(packed) > 1.6 * zoom(outer)) Object.assign(outer, packed, { bends: {} });
  }
  const spots: Record<string, Spot> = {};
  const bends: Record<string, Spot[]> = {};
  for (const seat of top) {
    const at = outer.spots[seat.id]!;
    const own = inner.get(seat.id.slice(4));
    if (!seat.id.startsWith('box ') || !own) {
      spots[seat.id] = at;
      continue;
    }
    const shift = { x: at.x - seat.w / 2 + pad.x, y: at.y - seat.h / 2 + pad.top };
    for (const [id, spot] of Object.entries(own.spots)) spots[id] = { x: spot.x + shift.x, y: spot.y + shift.y };
    for (const [id, points] of Object.entries(own.bends)) bends[id] = points.map((point) => ({ x: point.x + shift.x, y: point.y + shift.y }));
  }
  for (const [id, points] of Object.entries(outer.bends)) if (plan.edges.some((edge) => edge.id === id)) bends[id] = points;
  return { spots, bends };
}
