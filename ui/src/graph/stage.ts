/**
 * The graph on screen: cytoscape holds nodes, edges, pan and zoom and says what was hit; two canvases above it show the
 * moving traffic and the words. Positions stay from read to read; a new layout is made only when the set changes.
 */
import cytoscape, { type Core, type EdgeSingular, type NodeSingular } from 'cytoscape';
import { tint, colour } from '../shell/theme';
import { Decor, type EdgeLabel } from './decor';
import { Dots } from './dots';
import type { Placed } from './layout';
import { layout } from './layouter';
import type { View, ViewEdge, ViewNode } from './model';
import { tcpRate } from './model';

export interface StageOptions {
  label: EdgeLabel;
  locks: boolean;
  badges: boolean;
  animate: boolean;
}

export interface StageEvents {
  select(id: string | undefined, kind: 'node' | 'edge' | 'box' | undefined): void;
  open(id: string): void;
  painted(): void;
}

/** The tile of a node; the room that it takes with its words below; and how far the tile stands above the middle of that. */
export const tile = { w: 48, h: 48, roomW: 124, roomH: 98, up: 14 };

function widthOf(edge: ViewEdge): number {
  const rate = edge.protocol === 'tcp' ? tcpRate(edge.traffic) / 100 : edge.traffic.rps;
  return 1.2 + Math.min(2.2, Math.log10(1 + rate) * 0.9);
}

export class Stage {
  readonly cy: Core;
  private readonly decor: Decor;
  private readonly dots: Dots;
  private view: View = { nodes: [], edges: [], boxes: [], whole: { nodes: 0, edges: 0 } };
  private ids = '';
  private readonly resize: ResizeObserver;
  private generation = 0;
  /** The set whose first places are asked for. */
  private waiting: string | undefined;
  private selected: string | undefined;
  private found: Set<string> | undefined;
  private touched = false;

  constructor(
    private readonly host: HTMLElement,
    private readonly events: StageEvents,
    private options: StageOptions,
  ) {
    const ground = document.createElement('div');
    ground.style.cssText = 'position:absolute;inset:0';
    host.append(ground);
    this.cy = cytoscape({
      container: ground,
      style: this.style(),
      minZoom: 0.04,
      maxZoom: 2.5,
      boxSelectionEnabled: false,
      selectionType: 'single',
      autounselectify: true,
      pixelRatio: Math.min(2, window.devicePixelRatio || 1),
    });
    this.dots = new Dots(host, this.cy);
    this.decor = new Decor(host, this.cy);
    this.decor.options = options;
    this.cy.on('tap', (event) => {
      if (event.target === this.cy) this.events.select(undefined, undefined);
      else {
        const id = event.target.id() as string;
        this.events.select(id, event.target.isEdge() ? 'edge' : event.target.data('box') ? 'box' : 'node');
      }
    });
    this.cy.on('dbltap', 'node', (event) => this.events.open(event.target.id() as string));
    this.cy.on('mouseover', 'node, edge', (event) => {
      ground.style.cursor = 'pointer';
      event.target.addClass('over');
    });
    this.cy.on('mouseout', 'node, edge', (event) => {
      ground.style.cursor = '';
      event.target.removeClass('over');
    });
    this.cy.on('position', 'node', () => this.dots.bent());
    this.cy.on('pan zoom', () => this.dots.moved());
    // Whoever moved the view by hand keeps it.
    ground.addEventListener('pointerdown', () => (this.touched = true), { passive: true });
    ground.addEventListener('wheel', () => (this.touched = true), { passive: true });
    this.resize = new ResizeObserver(() => {
      this.cy.resize();
      this.decor.fitSize();
      this.dots.fitSize();
      if (!this.touched) this.fit(false);
    });
    this.resize.observe(host);
  }

  private style(): cytoscape.StylesheetJson {
    const health = (name: string, token: string) => ({ selector: `node.${name}`, style: { 'border-color': colour(token), 'border-width': 1.5 } });
    const edge = (name: string, token: string, alpha: number) => ({ selector: `edge.${name}`, style: { 'line-color': tint(token, alpha), 'target-arrow-color': colour(token), 'line-opacity': alpha } });
    return [
      { selector: 'node', style: { shape: 'round-rectangle', 'corner-radius': '13', width: 'data(w)', height: 'data(h)', 'background-color': colour('surface'), 'border-width': 1, 'border-color': colour('line-strong'), 'overlay-opacity': 0 } },
      { selector: 'node.group', style: { 'background-color': colour('raised'), 'border-width': 1, 'border-style': 'solid', ghost: 'yes', 'ghost-offset-x': 4, 'ghost-offset-y': 4, 'ghost-opacity': 0.45 } },
      { selector: 'node.external, node.unknown', style: { 'border-style': 'dashed' } },
      health('failing', 'bad'),
      health('degraded', 'warn'),
      { selector: 'node.box', style: { shape: 'round-rectangle', 'corner-radius': '12', 'background-color': colour('sunken'), 'background-opacity': 0.75, 'border-color': colour('line'), 'border-width': 1, padding: '44px' } },
      { selector: 'edge', style: { width: 'data(width)', 'curve-style': 'bezier', 'control-point-step-size': 34, 'target-arrow-shape': 'triangle', 'arrow-scale': 0.8, 'line-color': colour('idle'), 'target-arrow-color': colour('idle'), 'overlay-opacity': 0 } },
      edge('healthy', 'idle', 0.75),
      edge('degraded', 'warn', 0.85),
      edge('failing', 'bad', 0.95),
      edge('idle', 'line-strong', 0.9),
      { selector: 'edge.many', style: { 'line-opacity': 0.3, 'arrow-scale': 0.6 } },
      { selector: 'edge.many.failing, edge.many.degraded', style: { 'line-opacity': 0.55 } },
      { selector: 'edge.idle', style: { 'line-style': 'dotted' } },
      { selector: 'edge.tcp', style: { 'line-style': 'dashed', 'line-dash-pattern': [6, 4] } },
      { selector: 'edge.bent', style: { 'curve-style': 'unbundled-bezier', 'control-point-distances': 'data(d)', 'control-point-weights': 'data(k)', 'edge-distances': 'node-position' } as never },
      { selector: 'edge.plain', style: { 'curve-style': 'haystack', 'haystack-radius': 0.3, width: 1, 'line-opacity': 0.35 } as never },
      { selector: 'edge.over', style: { width: 4 } },
      { selector: 'node.over', style: { 'border-color': colour('text-3') } },
      { selector: 'node.box.over', style: { 'border-color': colour('line-strong') } },
      { selector: '.dim', style: { opacity: 0.22 } },
      { selector: 'node.box.dim', style: { opacity: 1 } },
      { selector: 'node.found', style: { 'border-color': colour('violet'), 'border-width': 3 } },
      { selector: 'edge.found', style: { 'line-color': colour('violet'), 'target-arrow-color': colour('violet'), width: 4, 'line-opacity': 1 } },
      { selector: 'node.chosen', style: { 'border-color': colour('accent'), 'border-width': 2.5 } },
      { selector: 'edge.chosen', style: { 'line-color': colour('accent'), 'target-arrow-color': colour('accent'), width: 4, 'line-opacity': 1 } },
    ] as cytoscape.StylesheetJson;
  }

  /** Colours changed. */
  repaint(): void {
    this.cy.style(this.style());
    this.decor.draw();
  }

  set(options: StageOptions): void {
    this.options = options;
    this.decor.options = options;
    this.dots.run(options.animate);
    this.decor.draw();
  }

  private classesOf(node: ViewNode): string {
    return `${node.kind} ${node.health}`;
  }

  async show(view: View): Promise<void> {
    this.view = view;
    const ids = view.nodes.map((node) => `${node.id}${node.box ?? ''}`).sort().join('\n');
    const many = view.edges.length > 1600;
    const changed = ids !== this.ids;
    let placed: Placed | undefined;
    if (changed && this.cy.nodes().empty()) {
      // What is drawn before it has its place would be drawn twice. News of the same set wait for the same places.
      if (this.waiting === ids) return;
      this.waiting = ids;
      placed = await this.places(view);
      if (this.waiting !== ids) return;
      this.waiting = undefined;
      view = this.view;
    }
    const before = new Map<string, { x: number; y: number }>();
    if (changed) this.cy.nodes().forEach((node) => void before.set(node.id(), { ...node.position() }));
    this.cy.startBatch();
    const nodes = new Map(view.nodes.map((node) => [node.id, node]));
    const edges = new Map(view.edges.map((edge) => [edge.id, edge]));
    const boxes = new Set(view.boxes.map((box) => box.id));
    this.cy.edges().filter((edge) => !edges.has(edge.id())).remove();
    // Children leave their box before it goes.
    this.cy.nodes().forEach((node) => {
      if (node.data('box')) return;
      const still = nodes.get(node.id());
      if (!still) node.remove();
      else if ((still.box ?? null) !== (node.data('parent') ?? null)) node.move({ parent: still.box && boxes.has(still.box) ? still.box : null });
    });
    this.cy.nodes('.box').filter((box) => !boxes.has(box.id())).remove();
    // Boxes first: nodes that are there already move into them.
    for (const box of view.boxes) if (this.cy.getElementById(box.id).empty()) this.cy.add({ group: 'nodes', data: { id: box.id, box: true, w: 10, h: 10 }, classes: 'box', selectable: false, grabbable: true });
    const fresh: cytoscape.ElementDefinition[] = [];
    for (const node of view.nodes) {
      const old = this.cy.getElementById(node.id);
      if (old.nonempty()) {
        for (const name of ['healthy', 'degraded', 'failing', 'idle']) old.toggleClass(name, name === node.health);
        if ((old.data('parent') ?? undefined) !== node.box && (node.box || old.data('parent'))) old.move({ parent: node.box ?? null });
      } else {
        const from = before.get(`group:${node.box}`) ?? (node.kind === 'group' ? before.get(node.id.slice(6)) : undefined);
        fresh.push({ group: 'nodes', data: { id: node.id, parent: node.box, w: tile.w, h: tile.h }, position: from ? { ...from } : { x: 0, y: 0 }, classes: this.classesOf(node) });
      }
    }
    for (const edge of view.edges) {
      const old = this.cy.getElementById(edge.id);
      if (old.nonempty()) {
        for (const name of ['healthy', 'degraded', 'failing', 'idle']) old.toggleClass(name, name === edge.health);
        const width = widthOf(edge);
        if (Math.abs((old.data('width') as number) - width) > 0.1) old.data('width', width);
      } else fresh.push({ group: 'edges', data: { id: edge.id, source: edge.source, target: edge.target, width: widthOf(edge) }, classes: `${edge.health} ${edge.protocol} ${many ? 'plain' : view.edges.length > 150 ? 'many' : ''}` });
    }
    this.cy.add(fresh);
    this.cy.endBatch();
    this.decor.view = { nodes, edges, boxes: new Map(view.boxes.map((box) => [box.id, box])) };
    this.mark();
    if (changed) {
      this.ids = ids;
      await this.arrange(before.size === 0, placed);
    }
    this.decor.draw();
    this.events.painted();
    const move = () => {
      this.dots.show(this.view.edges);
      this.dots.run(this.options.animate);
    };
    // The first picture does not wait for what moves on it.
    if (placed) requestAnimationFrame(() => requestAnimationFrame(() => !this.cy.destroyed() && move()));
    else move();
  }

  private places(view: View): Promise<Placed | undefined> {
    const { clientWidth: w, clientHeight: h } = this.host;
    return layout({
      nodes: view.nodes.map((node) => ({ id: node.id, w: tile.roomW, h: tile.roomH, box: node.box })),
      edges: view.edges.map((edge) => ({ id: edge.id, source: edge.source, target: edge.target, weight: edge.traffic.rps || 0.1 })),
      down: h > w * 1.15,
      aspect: w / Math.max(1, h),
    });
  }

  private async arrange(first: boolean, known?: Placed): Promise<void> {
    const generation = ++this.generation;
    const placed = known ?? (await this.places(this.view));
    if (!placed || generation !== this.generation) return;
    for (const spot of [...Object.values(placed.spots), ...Object.values(placed.bends).flat()]) spot.y -= tile.up;
    this.cy.edges('.bent').removeClass('bent');
    const glide = !first && this.view.nodes.length <= 200 && !window.matchMedia('(prefers-reduced-motion: reduce)').matches;
    if (!glide) {
      this.cy.startBatch();
      for (const [id, spot] of Object.entries(placed.spots)) this.cy.getElementById(id).position(spot);
      this.cy.endBatch();
    } else {
      for (const [id, spot] of Object.entries(placed.spots)) this.cy.getElementById(id).animate({ position: spot }, { duration: 320, easing: 'ease-in-out-cubic' });
    }
    this.cy.startBatch();
    for (const [id, points] of Object.entries(placed.bends)) {
      const edge = this.cy.getElementById(id) as EdgeSingular;
      const source = placed.spots[edge.source()?.id()];
      const target = placed.spots[edge.target()?.id()];
      if (edge.empty() || !source || !target) continue;
      const dx = target.x - source.x;
      const dy = target.y - source.y;
      const long = Math.hypot(dx, dy) || 1;
      const k = points.map((p) => ((p.x - source.x) * dx + (p.y - source.y) * dy) / long ** 2);
      const d = points.map((p) => (-(p.x - source.x) * dy + (p.y - source.y) * dx) / long);
      // A detour that is longer than the way says nothing; straight is better then.
      if (k.some((one) => one < -0.1 || one > 1.1) || d.some((one) => Math.abs(one) > long * 0.6)) continue;
      edge.data({ k, d });
      edge.addClass('bent');
    }
    this.cy.endBatch();
    if (glide) window.setTimeout(() => generation === this.generation && this.fit(true), 340);
    else this.fit(false);
  }

  relayout(): void {
    this.touched = false;
    void this.arrange(false);
  }

  fit(glide = true): void {
    if (this.cy.nodes().empty()) return;
    const room = this.cy.width() < 560 ? 12 : 28;
    const box = this.cy.nodes().boundingBox({ includeLabels: false, includeOverlays: false });
    // The words stand beside and below the tiles; boxes have room for them.
    const aside = this.view.boxes.length > 0 ? 30 : 40;
    Object.assign(box, { x1: box.x1 - aside, w: box.w + 2 * aside, h: box.h + 30 });
    const zoom = Math.min(1.15, (this.cy.width() - 2 * room) / Math.max(1, box.w), (this.cy.height() - 2 * room) / Math.max(1, box.h));
    const pan = { x: this.cy.width() / 2 - (box.x1 + box.w / 2) * zoom, y: this.cy.height() / 2 - (box.y1 + box.h / 2) * zoom };
    if (glide) this.cy.animate({ zoom, pan }, { duration: 220, easing: 'ease-out-cubic' });
    else this.cy.viewport({ zoom, pan });
  }

  zoomBy(factor: number): void {
    this.touched = true;
    this.cy.animate({ zoom: { level: this.cy.zoom() * factor, renderedPosition: { x: this.cy.width() / 2, y: this.cy.height() / 2 } } } as never, { duration: 140 });
  }

  select(id: string | undefined): void {
    this.selected = id;
    this.mark();
    this.decor.draw();
  }

  /** What was found is marked, all else steps back. Undefined: nothing was asked. */
  find(found: Set<string> | undefined): void {
    this.found = found;
    this.mark();
    this.decor.draw();
  }

  private mark(): void {
    this.cy.startBatch();
    this.cy.elements('.chosen, .dim, .found').removeClass('chosen dim found');
    const chosen = this.selected ? this.cy.getElementById(this.selected) : undefined;
    const { found } = this;
    if (found && found.size > 0) {
      this.cy.elements().forEach((element) => {
        if (found.has(element.id())) element.addClass('found');
        else element.addClass('dim');
      });
      this.cy.nodes('.found').connectedEdges().filter((edge) => found.has(edge.source().id()) && found.has(edge.target().id())).removeClass('dim');
      this.cy.edges('.found').connectedNodes().removeClass('dim');
    } else if (chosen?.nonempty() && !chosen.data('box')) {
      const near = chosen.isNode() ? (chosen as NodeSingular).closedNeighborhood() : (chosen as unknown as EdgeSingular).connectedNodes().union(chosen);
      this.cy.elements().not(near).addClass('dim');
    }
    chosen?.addClass('chosen').removeClass('dim');
    this.cy.endBatch();
  }

  /** The next node in a direction from the selected one, as the arrow keys mean it. */
  next(key: 'ArrowLeft' | 'ArrowRight' | 'ArrowUp' | 'ArrowDown'): string | undefined {
    const nodes = this.cy.nodes().not('.box');
    const from = this.selected ? this.cy.getElementById(this.selected) : undefined;
    if (!from?.nonempty() || !from.isNode()) {
      let first: { id: string; x: number } | undefined;
      nodes.forEach((node) => {
        const x = node.position('x') + node.position('y') / 1000;
        if (!first || x < first.x) first = { id: node.id(), x };
      });
      return (first as { id: string } | undefined)?.id;
    }
    const p = (from as NodeSingular).position();
    let best: { id: string; cost: number } | undefined;
    nodes.forEach((node) => {
      if (node.id() === from.id()) return;
      const dx = node.position('x') - p.x;
      const dy = node.position('y') - p.y;
      const [ahead, aside] = key === 'ArrowRight' ? [dx, dy] : key === 'ArrowLeft' ? [-dx, dy] : key === 'ArrowDown' ? [dy, dx] : [-dy, dx];
      if (ahead <= 1) return;
      const cost = ahead + Math.abs(aside) * 2.2;
      if (!best || cost < best.cost) best = { id: node.id(), cost };
    });
    return (best as { id: string } | undefined)?.id;
  }

  /** Brings an element into sight if it is not. */
  reveal(id: string): void {
    const element = this.cy.getElementById(id);
    if (element.empty()) return;
    const box = element.renderedBoundingBox();
    if (this.cy.width() < 560 && element.isNode()) {
      // On a phone the sheet covers the lower part: what is selected goes into the upper one.
      const at = (element as unknown as NodeSingular).position();
      const zoom = Math.max(this.cy.zoom(), 0.6);
      this.cy.animate({ zoom, pan: { x: this.cy.width() / 2 - at.x * zoom, y: this.cy.height() * 0.18 - at.y * zoom } }, { duration: 200 });
      return;
    }
    if (box.x1 < 0 || box.y1 < 0 || box.x2 > this.cy.width() || box.y2 > this.cy.height()) this.cy.animate({ center: { eles: element } }, { duration: 200 });
  }

  /** For the page's tests: how many dots fly now. */
  flying(): number {
    return this.dots.flying();
  }

  destroy(): void {
    this.generation += 1;
    this.waiting = undefined;
    this.resize.disconnect();
    this.dots.destroy();
    this.decor.destroy();
    this.cy.destroy();
    this.host.replaceChildren();
  }
}
