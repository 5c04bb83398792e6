/** The words and signs on the graph: names, rates, badges, locks, labels. Drawn after each of cytoscape's own frames. */
import type { Core, EdgeSingular } from 'cytoscape';
import type { Badge } from '../api/mesh';
import { paths, type IconName } from '../look/icon';
import { colour, tint } from '../shell/theme';
import { bytesRate, millis, percent, rate, short } from '../words/format';
import { errorShare, tcpRate, type View, type ViewEdge, type ViewNode } from './model';

export type EdgeLabel = 'none' | 'rate' | 'p50' | 'p95' | 'p99' | 'throughput' | 'success';

export const badgeIcons: Record<Badge, { icon: IconName; words: string }> = {
  trafficShifting: { icon: 'split', words: 'Traffic is split by weight' },
  requestRouting: { icon: 'route', words: 'Requests are routed by what they say' },
  faultInjection: { icon: 'fault', words: 'Faults are injected' },
  mirror: { icon: 'mirror', words: 'Traffic is mirrored' },
  circuitBreaker: { icon: 'breaker', words: 'Circuit breaker' },
  timeout: { icon: 'clock', words: 'Timeout' },
  retries: { icon: 'retry', words: 'Retries' },
  authorization: { icon: 'shield', words: 'Access is restricted' },
  rateLimit: { icon: 'gauge', words: 'Rate limit' },
  serviceEntry: { icon: 'entry', words: 'ServiceEntry' },
  virtualService: { icon: 'config', words: 'VirtualService' },
  gateway: { icon: 'gateway', words: 'Gateway' },
};

/** In this order, and the plain VirtualService only where nothing says more. */
export function shownBadges(badges: Badge[]): Badge[] {
  const own = (Object.keys(badgeIcons) as Badge[]).filter((one) => badges.includes(one) && one !== 'virtualService');
  const says = own.some((one) => ['trafficShifting', 'requestRouting', 'faultInjection', 'mirror', 'timeout', 'retries'].includes(one));
  return badges.includes('virtualService') && !says ? [...own, 'virtualService'] : own;
}

export function labelOf(edge: ViewEdge, label: EdgeLabel): string {
  const { traffic } = edge;
  if (label === 'none') return '';
  if (edge.protocol === 'tcp') return label === 'rate' || label === 'throughput' ? bytesRate(tcpRate(traffic)) : '';
  if (traffic.rps <= 0) return '';
  if (label === 'rate') return rate(traffic.rps);
  if (label === 'throughput') return bytesRate(traffic.requestBytes + traffic.responseBytes);
  if (label === 'success') return percent(traffic.success);
  return millis(traffic[label]);
}

function subline(node: ViewNode): string {
  if (node.kind === 'group') {
    if (node.failing > 0) return `${node.failing} of ${node.members} failing`;
    return node.degraded > 0 ? `${node.degraded} of ${node.members} degraded` : `${node.members} ${node.members === 1 ? 'member' : 'members'}`;
  }
  const parts: string[] = [];
  if (node.kind === 'app' && node.version) parts.push(node.version);
  const traffic = node.inbound.rps > 0 || tcpRate(node.inbound) > 0 ? node.inbound : node.outbound;
  if (traffic.rps > 0) {
    const errors = errorShare(node.inbound);
    parts.push(errors > 0.0005 ? `${short(traffic.rps)}/s` : rate(traffic.rps));
    if (errors > 0.0005) parts.push(`${errors < 0.1 ? (errors * 100).toFixed(1) : Math.round(errors * 100)} % err`);
    else if (traffic.p95 !== undefined) parts.push(millis(traffic.p95));
  } else if (tcpRate(traffic) > 0) parts.push(bytesRate(tcpRate(traffic)));
  else parts.push('no traffic');
  return parts.join(' · ');
}

const font = (weight: number, size: number) => `${weight} ${size}px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif`;
const glyphs = new Map<IconName, Path2D>();
function glyph(name: IconName): Path2D {
  let path = glyphs.get(name);
  if (!path) glyphs.set(name, (path = new Path2D(paths[name])));
  return path;
}

export class Decor {
  private readonly canvas = document.createElement('canvas');
  private readonly pen: CanvasRenderingContext2D;
  private readonly cut = new Map<string, string>();
  private queued = 0;
  options: { label: EdgeLabel; locks: boolean; badges: boolean } = { label: 'none', locks: true, badges: true };
  view: { nodes: Map<string, ViewNode>; edges: Map<string, ViewEdge>; boxes: Map<string, View['boxes'][number]> } = { nodes: new Map(), edges: new Map(), boxes: new Map() };
  private readonly onRender = () => this.paint();

  constructor(
    private readonly host: HTMLElement,
    private readonly cy: Core,
  ) {
    this.canvas.style.cssText = 'position:absolute;inset:0;width:100%;height:100%;pointer-events:none';
    this.canvas.dataset.layer = 'words';
    host.append(this.canvas);
    this.pen = this.canvas.getContext('2d')!;
    this.fitSize();
    cy.on('render', this.onRender);
  }

  fitSize(): void {
    const scale = Math.min(2, window.devicePixelRatio || 1);
    this.canvas.width = Math.round(this.host.clientWidth * scale);
    this.canvas.height = Math.round(this.host.clientHeight * scale);
    this.draw();
  }

  draw(): void {
    if (this.queued) return;
    this.queued = requestAnimationFrame(() => {
      this.queued = 0;
      this.paint();
    });
  }

  destroy(): void {
    cancelAnimationFrame(this.queued);
    this.cy.off('render', this.onRender);
  }

  /** Text that fits, with an ellipsis in the middle: the ends of names tell them apart. */
  private fitted(text: string, width: number, style: string): string {
    const key = `${style}|${width}|${text}`;
    let found = this.cut.get(key);
    if (found !== undefined) return found;
    this.pen.font = style;
    found = text;
    if (this.pen.measureText(text).width > width) {
      let [low, high] = [1, text.length];
      while (low < high) {
        const middle = Math.ceil((low + high) / 2);
        const head = Math.ceil(middle * 0.6);
        if (this.pen.measureText(`${text.slice(0, head)}…${text.slice(text.length - (middle - head))}`).width <= width) low = middle;
        else high = middle - 1;
      }
      const head = Math.ceil(low * 0.6);
      found = `${text.slice(0, head)}…${low - head > 0 ? text.slice(text.length - (low - head)) : ''}`;
    }
    if (this.cut.size > 4000) this.cut.clear();
    this.cut.set(key, found);
    return found;
  }

  private icon(name: IconName, x: number, y: number, size: number, stroke: string, width = 1.5): void {
    const { pen } = this;
    pen.save();
    pen.translate(x - size / 2, y - size / 2);
    pen.scale(size / 16, size / 16);
    pen.strokeStyle = stroke;
    pen.lineWidth = width;
    pen.lineCap = 'round';
    pen.lineJoin = 'round';
    pen.stroke(glyph(name));
    pen.restore();
  }

  private paint(): void {
    const { pen, canvas, cy } = this;
    const scale = canvas.width / Math.max(1, this.host.clientWidth);
    const zoom = cy.zoom();
    const pan = cy.pan();
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    const at = cy.extent();
    pen.setTransform(scale * zoom, 0, 0, scale * zoom, scale * pan.x, scale * pan.y);
    pen.textBaseline = 'middle';
    this.edgeWords(zoom, at);
    cy.nodes().forEach((element) => {
      const { x, y } = element.position();
      const box = this.view.boxes.get(element.id());
      if (box) {
        const bounds = element.boundingBox({});
        if (bounds.x2 < at.x1 || bounds.x1 > at.x2 || bounds.y2 < at.y1 || bounds.y1 > at.y2 || zoom < 0.06) return;
        this.boxWords(box, bounds, zoom);
        return;
      }
      if (x < at.x1 - 110 || x > at.x2 + 110 || y < at.y1 - 50 || y > at.y2 + 50) return;
      const node = this.view.nodes.get(element.id());
      if (!node) return;
      pen.globalAlpha = element.hasClass('dim') ? 0.3 : 1;
      this.nodeWords(node, x, y, zoom);
      pen.globalAlpha = 1;
    });
  }

  private boxWords(box: View['boxes'][number], bounds: { x1: number; y1: number; x2: number }, zoom: number): void {
    const size = Math.min(34, (bounds.x2 - bounds.x1) / 7, Math.max(12, 10 / zoom));
    const style = font(600, size);
    this.pen.font = style;
    this.pen.textAlign = 'left';
    this.pen.fillStyle = colour('text-2');
    this.pen.fillText(this.fitted(box.label, bounds.x2 - bounds.x1 - 48, style), bounds.x1 + 14, bounds.y1 + 6 + size * 0.75);
    if (zoom > 0.35) this.icon('minus', bounds.x2 - 16, bounds.y1 + 16, 12, colour('text-3'));
  }

  private nodeWords(node: ViewNode, x: number, y: number, zoom: number): void {
    const { pen } = this;
    const token = node.health === 'failing' ? 'bad' : node.health === 'degraded' ? 'warn' : node.health === 'healthy' ? 'good' : 'idle';
    pen.fillStyle = tint(token, zoom < 0.25 ? 0.6 : 0.13);
    pen.beginPath();
    pen.roundRect(x - 21, y - 21, 42, 42, 10);
    pen.fill();
    if (zoom < 0.25) return;
    const sign: IconName = node.kind === 'group' ? 'layers' : node.gateway ? 'gateway' : node.kind === 'service' ? 'service' : node.kind === 'external' ? 'entry' : node.kind === 'unknown' ? 'user' : 'workload';
    this.icon(sign, x, y, 24, colour(token), 1.3);
    // Words shrink less than the graph does, as long as there is room for them.
    const size = Math.min(22, Math.max(13, 10.4 / zoom));
    const style = font(600, size);
    pen.textAlign = 'center';
    pen.fillStyle = colour('text');
    pen.font = style;
    const name = node.kind === 'unknown' ? 'Outside' : node.name;
    // A rim in the ground's colour keeps words readable above edges.
    pen.strokeStyle = tint('bg', 0.85);
    pen.lineWidth = 4;
    pen.lineJoin = 'round';
    const title = this.fitted(name, 132, style);
    pen.strokeText(title, x, y + 27 + size / 2);
    pen.fillText(title, x, y + 27 + size / 2);
    if (zoom > 0.5) {
      const small = font(400, Math.min(13.5, Math.max(11, 9.2 / zoom)));
      pen.font = small;
      pen.fillStyle = node.health === 'failing' ? colour('bad') : node.health === 'degraded' ? colour('warn') : colour('text-2');
      const line = this.fitted(subline(node), 132, small);
      pen.strokeText(line, x, y + 34 + size);
      pen.fillText(line, x, y + 34 + size);
    }
    if (!this.options.badges || zoom < 0.4) return;
    const badges: { icon: IconName; warn?: boolean }[] = shownBadges(node.badges).filter((one) => one !== 'gateway').map((one) => ({ icon: badgeIcons[one].icon, warn: one === 'faultInjection' }));
    if (node.bare) badges.push({ icon: 'warning', warn: true });
    if (badges.length === 0) return;
    const step = 17;
    const wide = badges.length * step + 5;
    const bx = badges.length > 3 ? x - wide / 2 : x + 28 - wide;
    const by = y - 25;
    pen.fillStyle = colour('raised');
    pen.strokeStyle = colour('line-strong');
    pen.lineWidth = 1;
    pen.beginPath();
    pen.roundRect(bx, by - 9, wide, 18, 9);
    pen.fill();
    pen.stroke();
    badges.forEach(({ icon, warn }, i) => this.icon(icon, bx + 11 + i * step, by, 12, colour(warn ? 'warn' : 'accent'), 1.7));
  }

  private edgeWords(zoom: number, at: { x1: number; x2: number; y1: number; y2: number }): void {
    const { pen } = this;
    const { label, locks } = this.options;
    const many = this.view.edges.size > 150;
    if (zoom < 0.4 || (many && zoom < 0.7)) return;
    const style = font(500, Math.min(14, Math.max(11, 9.6 / zoom)));
    this.cy.edges().forEach((element) => {
      const edge = this.view.edges.get(element.id());
      if (!edge || element.hasClass('plain')) return;
      const middle = (element as EdgeSingular).midpoint();
      if (!middle || middle.x < at.x1 || middle.x > at.x2 || middle.y < at.y1 || middle.y > at.y2) return;
      const words = labelOf(edge, label);
      // Only what is not mutual TLS calls for attention; what is shows a small closed lock.
      const lock = locks && edge.mtls !== undefined && edge.target.startsWith('external') === false ? (edge.mtls >= 0.999 ? (many ? undefined : 'lock') : 'unlock') : undefined;
      if (!words && !lock) return;
      pen.globalAlpha = element.hasClass('dim') ? 0.25 : 1;
      pen.font = style;
      const text = words ? pen.measureText(words).width : 0;
      const wide = (lock ? 14 : 0) + (words ? text + (lock ? 3 : 0) : 0) + 8;
      pen.fillStyle = tint('bg', 0.92);
      pen.beginPath();
      pen.roundRect(middle.x - wide / 2, middle.y - 9, wide, 18, 9);
      pen.fill();
      let x = middle.x - wide / 2 + 4;
      if (lock) {
        this.icon(lock, x + 7, middle.y - 0.5, 12, lock === 'lock' ? colour('text-3') : colour('warn'), 1.6);
        x += 17;
      }
      if (words) {
        pen.textAlign = 'left';
        pen.fillStyle = edge.health === 'failing' ? colour('bad') : edge.health === 'degraded' ? colour('warn') : colour('text-2');
        pen.fillText(words, x, middle.y + 0.5);
      }
      pen.globalAlpha = 1;
    });
  }
}
