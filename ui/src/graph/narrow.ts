/**
 * From the document to what is drawn: first what is hidden goes, then what is left is folded if it is still too much, and
 * what is found is marked, in a folded group at the group. Pure.
 */
import type { Graph } from '../api/observe';
import { parse } from './find';
import { foldAbove, groupOf, viewOf, type Grouping, type Signs, type View } from './model';

export interface Wish {
  grouping: Grouping;
  /** Folded although there is room. */
  fold: boolean;
  /** Nothing is folded, however much it is. */
  allOpen: boolean;
  open: Set<string>;
  find: string;
  hide: string;
}

export interface Narrowed {
  view: View;
  folded: boolean;
  /** What is marked; undefined if nothing was asked for. */
  marked?: Set<string>;
  /** How many nodes and edges of the document fit. */
  found?: number;
  /** Folded groups in which something was found. */
  inside: string[];
  hidden: number;
  errors: { find?: string; hide?: string };
}

export function narrow(graph: Graph, signs: Signs, wish: Wish): Narrowed {
  const errors: Narrowed['errors'] = {};
  const less = parse(wish.hide);
  const more = parse(wish.find);
  if (!less.ok) errors.hide = less.error;
  if (!more.ok) errors.find = more.error;
  const asked = (less.ok && !less.empty) || (more.ok && !more.empty);
  const flat = asked ? viewOf(graph, signs, { grouping: wish.grouping, fold: false, open: wish.open }) : undefined;
  let left = graph;
  let hidden = 0;
  if (flat && less.ok && !less.empty) {
    const nodes = new Set(flat.nodes.filter((node) => !less.matches({ node })).map((node) => node.id));
    const edges = new Set(flat.edges.filter((edge) => nodes.has(edge.source) && nodes.has(edge.target) && !less.matches({ edge })).map((edge) => edge.id));
    left = { ...graph, nodes: graph.nodes.filter((node) => nodes.has(node.id)), edges: graph.edges.filter((edge) => edges.has(`${edge.source}>${edge.target}>${edge.protocol}`)) };
    hidden = graph.nodes.length - left.nodes.length + (graph.edges.length - left.edges.length);
  }
  const folded = wish.grouping !== 'none' && !wish.allOpen && (wish.fold || left.nodes.length > foldAbove);
  const view = viewOf(left, signs, { grouping: wish.grouping, fold: folded, open: wish.open });
  view.whole = { nodes: graph.nodes.length, edges: graph.edges.length };
  if (!flat || !more.ok || more.empty) return { view, folded, inside: [], hidden, errors };
  const marked = new Set<string>();
  const inside = new Set<string>();
  let found = 0;
  const shown = new Set(view.nodes.map((node) => node.id));
  const present = new Set(left.nodes.map((node) => node.id));
  const seats = new Map<string, string>();
  for (const node of left.nodes) seats.set(node.id, shown.has(node.id) ? node.id : `group:${groupOf(node, wish.grouping) ?? ''}`);
  for (const node of flat.nodes) {
    if (!present.has(node.id) || !more.matches({ node })) continue;
    found += 1;
    const seat = seats.get(node.id)!;
    marked.add(seat);
    if (seat !== node.id) inside.add(seat.slice(6));
  }
  const drawn = new Set(view.edges.map((edge) => edge.id));
  for (const edge of flat.edges) {
    if (!more.matches({ edge })) continue;
    const [source, target] = [seats.get(edge.source), seats.get(edge.target)];
    if (!source || !target) continue;
    found += 1;
    const id = `${source}>${target}>${edge.protocol}`;
    if (drawn.has(id)) marked.add(id);
    else if (source === target) {
      marked.add(source);
      if (source.startsWith('group:')) inside.add(source.slice(6));
    }
  }
  // A group can be asked for by its own name too.
  for (const node of view.nodes) if (node.kind === 'group' && !marked.has(node.id) && more.matches({ node })) {
    marked.add(node.id);
    found += 1;
  }
  return { view, folded, marked, found, inside: [...inside], hidden, errors };
}
