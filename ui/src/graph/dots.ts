/** The moving traffic: a canvas above the edges, drawn in animation frames as long as somebody looks. */
import type { Core, EdgeSingular } from 'cytoscape';
import { colour } from '../shell/theme';
import { flows, type Flow } from './flow';
import type { ViewEdge } from './model';

interface Track {
  /** x, y and way from the start, in turn. */
  points: Float32Array;
  length: number;
  flow: Flow;
  /** Ways that dots have gone; negative marks an error. */
  dots: { way: number; error: boolean }[];
  wait: number;
  errors: number;
}

const cap = 700;

function sample(edge: EdgeSingular): { points: Float32Array; length: number } | undefined {
  const plain = edge.hasClass('plain');
  const a = plain ? edge.source().position() : edge.sourceEndpoint();
  const b = plain ? edge.target().position() : edge.targetEndpoint();
  if (!a || !b || !Number.isFinite(a.x) || !Number.isFinite(b.x)) return undefined;
  const controls = plain ? [] : (edge.controlPoints() ?? []);
  const out: number[] = [];
  let way = 0;
  let last = a;
  const put = (x: number, y: number) => {
    way += Math.hypot(x - last.x, y - last.y);
    last = { x, y };
    out.push(x, y, way);
  };
  put(a.x, a.y);
  if (controls.length === 0) put(b.x, b.y);
  let from = a;
  controls.forEach((control, i) => {
    const next = controls[i + 1];
    const to = next ? { x: (control.x + next.x) / 2, y: (control.y + next.y) / 2 } : b;
    for (let n = 1; n <= 10; n += 1) {
      const t = n / 10;
      const u = 1 - t;
      put(u * u * from.x + 2 * u * t * control.x + t * t * to.x, u * u * from.y + 2 * u * t * control.y + t * t * to.y);
    }
    from = to;
  });
  return way > 1 ? { points: Float32Array.from(out), length: way } : undefined;
}

export class Dots {
  private readonly canvas = document.createElement('canvas');
  private readonly pen: CanvasRenderingContext2D;
  private readonly tracks = new Map<string, Track>();
  private edges: ViewEdge[] = [];
  private frame = 0;
  private before = 0;
  private on = false;
  private stale = true;
  private readonly still = window.matchMedia('(prefers-reduced-motion: reduce)');
  private readonly wake = () => this.schedule();

  constructor(
    private readonly host: HTMLElement,
    private readonly cy: Core,
  ) {
    this.canvas.style.cssText = 'position:absolute;inset:0;width:100%;height:100%;pointer-events:none';
    this.canvas.dataset.layer = 'traffic';
    host.append(this.canvas);
    this.pen = this.canvas.getContext('2d')!;
    this.fitSize();
    document.addEventListener('visibilitychange', this.wake);
    this.still.addEventListener('change', this.wake);
  }

  fitSize(): void {
    const scale = Math.min(2, window.devicePixelRatio || 1);
    this.canvas.width = Math.round(this.host.clientWidth * scale);
    this.canvas.height = Math.round(this.host.clientHeight * scale);
  }

  run(on: boolean): void {
    this.on = on;
    if (!on) this.pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.schedule();
  }

  bent(): void {
    this.stale = true;
  }

  moved(): void {
    /* The view is read in each frame. */
  }

  flying(): number {
    let n = 0;
    for (const track of this.tracks.values()) n += track.dots.length;
    return n;
  }

  show(edges: ViewEdge[]): void {
    // Of very many edges the busiest move; the others would only be noise.
    this.edges = edges.length > 600 ? [...edges].sort((a, b) => b.traffic.rps - a.traffic.rps).slice(0, 600) : edges;
    this.stale = true;
    this.schedule();
  }

  private rebuild(): void {
    this.stale = false;
    const list: { edge: ViewEdge; length: number; points: Float32Array }[] = [];
    for (const edge of this.edges) {
      const element = this.cy.getElementById(edge.id) as EdgeSingular;
      if (element.empty()) continue;
      const line = sample(element);
      if (line) list.push({ edge, ...line });
    }
    const all = flows(list, this.edges.length > 120 ? cap / 2 : cap);
    const kept = new Set<string>();
    for (const { edge, points, length } of list) {
      const flow = all.get(edge.id);
      if (!flow) continue;
      kept.add(edge.id);
      const old = this.tracks.get(edge.id);
      if (old) {
        const stretch = length / old.length;
        if (Math.abs(stretch - 1) > 0.001) for (const dot of old.dots) dot.way *= stretch;
        Object.assign(old, { points, length, flow });
        continue;
      }
      const track: Track = { points, length, flow, dots: [], wait: Math.random() / flow.perSecond, errors: Math.random() };
      // The edge looks as if it had been watched for a while already.
      for (let way = Math.random() * (flow.speed / flow.perSecond); way < length; way += flow.speed / flow.perSecond) track.dots.push({ way, error: this.isError(track) });
      this.tracks.set(edge.id, track);
    }
    for (const id of this.tracks.keys()) if (!kept.has(id)) this.tracks.delete(id);
  }

  private isError(track: Track): boolean {
    track.errors += track.flow.errors;
    if (track.errors < 1) return false;
    track.errors -= 1;
    return true;
  }

  private schedule(): void {
    if (this.frame || !this.on || document.hidden || this.still.matches || this.edges.length === 0) {
      if (this.still.matches) this.pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
      return;
    }
    this.before = performance.now();
    this.frame = requestAnimationFrame(this.step);
  }

  private readonly step = (now: number): void => {
    this.frame = 0;
    if (!this.on || document.hidden || this.still.matches) return;
    const dt = Math.min(0.1, (now - this.before) / 1000);
    this.before = now;
    if (this.stale) this.rebuild();
    this.draw(dt);
    this.frame = requestAnimationFrame(this.step);
  };

  private draw(dt: number): void {
    const { pen, canvas } = this;
    const scale = canvas.width / Math.max(1, this.host.clientWidth);
    const zoom = this.cy.zoom();
    const pan = this.cy.pan();
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    const size = Math.max(1.3, Math.min(3.2, 3.2 * Math.sqrt(zoom)));
    const good = new Path2D();
    const grpc = new Path2D();
    const tcp = new Path2D();
    const bad = new Path2D();
    const faint = this.cy.elements('.dim').nonempty();
    for (const [id, track] of this.tracks) {
      const { flow, dots, points, length } = track;
      track.wait -= dt;
      while (track.wait <= 0) {
        dots.push({ way: 0, error: this.isError(track) });
        track.wait += 1 / flow.perSecond;
      }
      const hidden = faint && this.cy.getElementById(id).hasClass('dim');
      let kept = 0;
      let segment = 3;
      for (let i = dots.length - 1; i >= 0; i -= 1) dots[i]!.way += flow.speed * dt;
      // The oldest is the farthest: one walk along the points serves all.
      for (let i = dots.length - 1; i >= 0; i -= 1) {
        const dot = dots[i]!;
        if (dot.way >= length) continue;
        if (hidden) continue;
        while (segment < points.length - 3 && points[segment + 2]! < dot.way) segment += 3;
        const w0 = points[segment - 1]!;
        const w1 = points[segment + 2]!;
        const t = w1 > w0 ? (dot.way - w0) / (w1 - w0) : 0;
        const x = (points[segment - 3]! + (points[segment]! - points[segment - 3]!) * t) * zoom + pan.x;
        const y = (points[segment - 2]! + (points[segment + 1]! - points[segment - 2]!) * t) * zoom + pan.y;
        if (dot.error) {
          const s = size * 1.5;
          bad.moveTo(x, y - s);
          bad.lineTo(x + s, y);
          bad.lineTo(x, y + s);
          bad.lineTo(x - s, y);
          bad.closePath();
        } else if (flow.kind === 'tcp') tcp.rect(x - size * 0.8, y - size * 0.8, size * 1.6, size * 1.6);
        else {
          const path = flow.kind === 'grpc' ? grpc : good;
          path.moveTo(x + size, y);
          path.arc(x, y, size, 0, 6.2832);
        }
      }
      for (const dot of dots) if (dot.way < length) dots[kept++] = dot;
      dots.length = kept;
    }
    pen.fillStyle = colour('good');
    pen.fill(good);
    pen.fillStyle = colour('violet');
    pen.fill(grpc);
    pen.fillStyle = colour('info');
    pen.fill(tcp);
    pen.fillStyle = colour('bad');
    pen.fill(bad);
  }

  destroy(): void {
    cancelAnimationFrame(this.frame);
    this.on = false;
    document.removeEventListener('visibilitychange', this.wake);
    this.still.removeEventListener('change', this.wake);
  }
}
