/**
 * The language of find and hide, after Kiali's: `httpin > 0.5`, `!mtls`, `name *= rev AND NOT healthy`. Pure: text in,
 * a question or an error in words out. A field that an element does not have makes no statement on it, also when negated.
 */
import type { Badge } from '../api/mesh';
import { errorShare, tcpRate, type ViewEdge, type ViewNode } from './model';

export type Element = { node: ViewNode } | { edge: ViewEdge };
/** True, false, or undefined: the question is not about such an element. */
type Answer = boolean | undefined;
export type Question = (element: Element) => boolean;
export type Parsed = { ok: true; matches: Question; empty: boolean } | { ok: false; error: string };

type Value = number | string | boolean | undefined;
interface Field {
  names: string[];
  about: string;
  kind: 'number' | 'text' | 'flag';
  node?: (node: ViewNode) => Value;
  edge?: (edge: ViewEdge) => Value;
}

function badge(...wanted: Badge[]): (node: ViewNode) => boolean {
  return (node) => wanted.some((one) => node.badges.includes(one));
}

const share = (part: number, whole: number) => (whole > 0 ? (part / whole) * 100 : undefined);
const is = (protocol: string, edge: ViewEdge) => edge.protocol === protocol;

export const fields: Field[] = [
  { names: ['name'], about: 'name of a node', kind: 'text', node: (node) => node.name },
  { names: ['namespace', 'ns'], about: 'namespace', kind: 'text', node: (node) => node.namespace },
  { names: ['workload'], about: 'workload', kind: 'text', node: (node) => (node.kind === 'workload' ? node.name : undefined) },
  { names: ['app'], about: 'app', kind: 'text', node: (node) => node.app || undefined },
  { names: ['version'], about: 'version', kind: 'text', node: (node) => node.version || undefined },
  { names: ['service', 'svc', 'host'], about: 'service', kind: 'text', node: (node) => (node.kind === 'service' ? node.name : node.services.join(' ') || undefined), edge: (edge) => edge.services.map((service) => service.host).join(' ') || undefined },
  { names: ['cluster'], about: 'cluster', kind: 'text', node: (node) => node.cluster || undefined },
  { names: ['node'], about: 'kind of node: workload, app, service, group, unknown, external', kind: 'text', node: (node) => node.kind },
  { names: ['protocol'], about: 'http, grpc or tcp', kind: 'text', edge: (edge) => edge.protocol },
  { names: ['principal'], about: 'identity', kind: 'text', node: (node) => node.principal, edge: (edge) => [edge.sourcePrincipal, edge.destinationPrincipal].filter(Boolean).join(' ') || undefined },
  { names: ['code'], about: 'status codes that were answered', kind: 'text', edge: (edge) => edge.responses.map((one) => one.code).join(' ') || undefined },
  { names: ['flag', 'flags'], about: 'response flags', kind: 'text', edge: (edge) => edge.responses.map((one) => one.flags).filter((one) => one !== '-').join(' ') || undefined },
  { names: ['httpin', 'rpsin', 'in'], about: 'inbound requests/s', kind: 'number', node: (node) => node.inbound.rps },
  { names: ['httpout', 'rpsout', 'out'], about: 'outbound requests/s', kind: 'number', node: (node) => node.outbound.rps },
  { names: ['http'], about: 'HTTP requests/s', kind: 'number', edge: (edge) => (is('http', edge) ? edge.traffic.rps : undefined) },
  { names: ['grpc'], about: 'gRPC requests/s', kind: 'number', edge: (edge) => (is('grpc', edge) ? edge.traffic.rps : undefined) },
  { names: ['rps', 'rate'], about: 'requests/s', kind: 'number', node: (node) => node.inbound.rps, edge: (edge) => edge.traffic.rps },
  { names: ['tcp', 'tcpin'], about: 'TCP bytes/s', kind: 'number', node: (node) => tcpRate(node.inbound), edge: (edge) => (is('tcp', edge) ? tcpRate(edge.traffic) : undefined) },
  { names: ['tcpout'], about: 'TCP bytes/s outbound', kind: 'number', node: (node) => tcpRate(node.outbound) },
  { names: ['%httperr', '%err', '%error'], about: 'share of failed requests, in %', kind: 'number', node: (node) => (node.inbound.rps > 0 ? errorShare(node.inbound) * 100 : undefined), edge: (edge) => (edge.traffic.rps > 0 ? errorShare(edge.traffic) * 100 : undefined) },
  { names: ['%grpcerr'], about: 'share of gRPC errors, in %', kind: 'number', node: (node) => share(node.inbound.grpcErrors, node.inbound.rps), edge: (edge) => (is('grpc', edge) ? share(edge.traffic.grpcErrors, edge.traffic.rps) : undefined) },
  { names: ['%4xx'], about: 'share of 4xx, in %', kind: 'number', node: (node) => share(node.inbound.rps4xx, node.inbound.rps), edge: (edge) => share(edge.traffic.rps4xx, edge.traffic.rps) },
  { names: ['%5xx'], about: 'share of 5xx, in %', kind: 'number', node: (node) => share(node.inbound.rps5xx, node.inbound.rps), edge: (edge) => share(edge.traffic.rps5xx, edge.traffic.rps) },
  { names: ['%success', 'success'], about: 'success rate, in %', kind: 'number', node: (node) => (node.inbound.success === undefined ? undefined : node.inbound.success * 100), edge: (edge) => (edge.traffic.success === undefined ? undefined : edge.traffic.success * 100) },
  { names: ['rt', 'p95', 'responsetime'], about: 'p95 latency, in ms', kind: 'number', node: (node) => node.inbound.p95, edge: (edge) => edge.traffic.p95 },
  { names: ['p50'], about: 'p50 latency, in ms', kind: 'number', node: (node) => node.inbound.p50, edge: (edge) => edge.traffic.p50 },
  { names: ['p99'], about: 'p99 latency, in ms', kind: 'number', node: (node) => node.inbound.p99, edge: (edge) => edge.traffic.p99 },
  { names: ['throughput'], about: 'bytes/s of bodies', kind: 'number', edge: (edge) => edge.traffic.requestBytes + edge.traffic.responseBytes },
  { names: ['%mtls'], about: 'share of mutual TLS, in %', kind: 'number', edge: (edge) => (edge.mtls === undefined ? undefined : edge.mtls * 100) },
  { names: ['mtls'], about: 'all of it is mutual TLS', kind: 'flag', edge: (edge) => (edge.mtls ?? 0) >= 0.999 },
  { names: ['healthy'], about: 'healthy or idle', kind: 'flag', node: (node) => node.health === 'healthy' || node.health === 'idle', edge: (edge) => edge.health === 'healthy' || edge.health === 'idle' },
  { names: ['degraded'], about: 'degraded', kind: 'flag', node: (node) => node.health === 'degraded', edge: (edge) => edge.health === 'degraded' },
  { names: ['failing', 'failure', 'unhealthy'], about: 'failing', kind: 'flag', node: (node) => node.health === 'failing', edge: (edge) => edge.health === 'failing' },
  { names: ['idle'], about: 'no traffic', kind: 'flag', node: (node) => node.health === 'idle', edge: (edge) => edge.health === 'idle' },
  { names: ['root', 'trafficsource'], about: 'traffic begins here', kind: 'flag', node: (node) => node.root },
  { names: ['group'], about: 'a folded group', kind: 'flag', node: (node) => node.kind === 'group' },
  { names: ['gateway'], about: 'a gateway', kind: 'flag', node: (node) => node.gateway },
  { names: ['sidecar', 'inmesh'], about: 'has a proxy', kind: 'flag', node: (node) => !node.bare && node.kind !== 'external' && node.kind !== 'unknown' },
  { names: ['external', 'outside'], about: 'outside of the mesh', kind: 'flag', node: (node) => node.kind === 'external' || node.kind === 'unknown' },
  { names: ['vs', 'virtualservice'], about: 'has a VirtualService', kind: 'flag', node: badge('virtualService') },
  { names: ['shifting', 'trafficshifting'], about: 'its traffic is split by weight', kind: 'flag', node: badge('trafficShifting') },
  { names: ['routing', 'requestrouting'], about: 'its requests are routed by what they say', kind: 'flag', node: badge('requestRouting') },
  { names: ['fault', 'faultinjection'], about: 'faults are injected', kind: 'flag', node: badge('faultInjection') },
  { names: ['mirror', 'mirroring'], about: 'its traffic is mirrored', kind: 'flag', node: badge('mirror') },
  { names: ['timeout'], about: 'has a timeout', kind: 'flag', node: badge('timeout') },
  { names: ['retries'], about: 'has retries', kind: 'flag', node: badge('retries') },
  { names: ['cb', 'circuitbreaker'], about: 'has a circuit breaker', kind: 'flag', node: badge('circuitBreaker') },
  { names: ['authorization', 'authz'], about: 'has an AuthorizationPolicy', kind: 'flag', node: badge('authorization') },
  { names: ['ratelimit'], about: 'has a rate limit', kind: 'flag', node: badge('rateLimit') },
  { names: ['se', 'serviceentry'], about: 'a ServiceEntry', kind: 'flag', node: badge('serviceEntry') },
];

const byName = new Map(fields.flatMap((field) => field.names.map((name) => [name, field] as const)));

interface Token {
  kind: 'word' | 'text' | 'op' | 'open' | 'close' | 'and' | 'or' | 'not';
  text: string;
}

const operators = ['!*=', '!^=', '!$=', '>=', '<=', '!=', '*=', '^=', '$=', '==', '=', '>', '<'];

function tokens(text: string): Token[] | string {
  const out: Token[] = [];
  let i = 0;
  while (i < text.length) {
    const c = text[i]!;
    if (/\s/.test(c)) {
      i += 1;
      continue;
    }
    if (c === '(' || c === ')') {
      out.push({ kind: c === '(' ? 'open' : 'close', text: c });
      i += 1;
      continue;
    }
    const op = operators.find((one) => text.startsWith(one, i));
    if (op) {
      out.push({ kind: 'op', text: op === '==' ? '=' : op });
      i += op.length;
      continue;
    }
    if (text.startsWith('&&', i) || text.startsWith('||', i)) {
      out.push({ kind: text[i] === '&' ? 'and' : 'or', text: text.slice(i, i + 2) });
      i += 2;
      continue;
    }
    if (c === '!') {
      out.push({ kind: 'not', text: '!' });
      i += 1;
      continue;
    }
    if (c === '"' || c === "'") {
      const end = text.indexOf(c, i + 1);
      if (end < 0) return `The quote ${c} is not closed`;
      out.push({ kind: 'text', text: text.slice(i + 1, end) });
      i = end + 1;
      continue;
    }
    const word = /^[^\s()=<>!*^$"'&|]+(?:[*^$](?!=)[^\s()=<>!"'&|]*)*/.exec(text.slice(i))?.[0];
    if (!word) return `\`${c}\` is not understood here`;
    const upper = word.toUpperCase();
    out.push({ kind: upper === 'AND' ? 'and' : upper === 'OR' ? 'or' : upper === 'NOT' ? 'not' : 'word', text: word });
    i += word.length;
  }
  return out;
}

class Trouble extends Error {}

/** How many letters two words are apart, up to 3. */
function apart(a: string, b: string): number {
  const row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i += 1) {
    let before = row[0]!;
    row[0] = i;
    for (let j = 1; j <= b.length; j += 1) {
      const keep = row[j]!;
      row[j] = Math.min(row[j]! + 1, row[j - 1]! + 1, before + (a[i - 1] === b[j - 1] ? 0 : 1));
      before = keep;
    }
  }
  return row[b.length]!;
}

function suggest(word: string): string {
  const near = [...byName.keys()].map((name) => ({ name, far: apart(word.toLowerCase(), name) })).sort((a, b) => a.far - b.far)[0];
  return near && near.far <= 2 ? `. Did you mean \`${near.name}\`?` : '. Fields are such as name, namespace, httpin, %httperr, rt, mtls, healthy';
}

type Ask = (element: Element) => Answer;

function compare(field: Field, op: string, value: string): Ask {
  if (field.kind === 'flag') {
    const wanted = /^(true|yes|1)$/i.test(value) ? true : /^(false|no|0)$/i.test(value) ? false : undefined;
    if (wanted === undefined || (op !== '=' && op !== '!=')) throw new Trouble(`\`${field.names[0]}\` is or is not: write \`${field.names[0]}\` or \`!${field.names[0]}\``);
    return (element) => {
      const found = read(field, element);
      return found === undefined ? undefined : (found === wanted) === (op === '=');
    };
  }
  if (field.kind === 'number') {
    const number = Number(value.replace(/(ms|%|rps|\/s)$/i, ''));
    if (!Number.isFinite(number) || value === '') throw new Trouble(`\`${field.names[0]}\` is compared with a number, and \`${value}\` is none`);
    if (!['=', '!=', '>', '>=', '<', '<='].includes(op)) throw new Trouble(`\`${field.names[0]}\` is a number: it is compared by =, !=, >, >=, < or <=`);
    return (element) => {
      const found = read(field, element);
      if (typeof found !== 'number') return undefined;
      if (op === '=') return found === number;
      if (op === '!=') return found !== number;
      if (op === '>') return found > number;
      if (op === '>=') return found >= number;
      if (op === '<') return found < number;
      return found <= number;
    };
  }
  const wanted = value.toLowerCase();
  if (op === '>' || op === '<' || op === '>=' || op === '<=') throw new Trouble(`\`${field.names[0]}\` is a text: it is compared by =, !=, *= (holds), ^= (begins with) or $= (ends with)`);
  const negated = op.startsWith('!');
  const bare = negated && op !== '!=' ? op.slice(1) : op === '!=' ? '=' : op;
  return (element) => {
    const found = read(field, element);
    if (typeof found !== 'string') return undefined;
    const text = found.toLowerCase();
    const words = text.split(' ');
    const hit = bare === '=' ? text === wanted || words.includes(wanted) : bare === '*=' ? text.includes(wanted) : bare === '^=' ? words.some((word) => word.startsWith(wanted)) : words.some((word) => word.endsWith(wanted));
    return hit !== negated;
  };
}

function read(field: Field, element: Element): Value {
  return 'node' in element ? field.node?.(element.node) : field.edge?.(element.edge);
}

export function parse(text: string): Parsed {
  const list = tokens(text);
  if (typeof list === 'string') return { ok: false, error: list };
  if (list.length === 0) return { ok: true, matches: () => false, empty: true };
  let at = 0;
  const peek = () => list[at];
  const either = (): Ask => {
    let left = both();
    while (peek()?.kind === 'or') {
      at += 1;
      const [a, b] = [left, both()];
      left = (element) => {
        const [x, y] = [a(element), b(element)];
        return x || y ? true : x === undefined && y === undefined ? undefined : false;
      };
    }
    return left;
  };
  const both = (): Ask => {
    let left = one();
    while (peek() && peek()!.kind !== 'or' && peek()!.kind !== 'close') {
      if (peek()!.kind === 'and') at += 1;
      const [a, b] = [left, one()];
      left = (element) => {
        const [x, y] = [a(element), b(element)];
        return x === undefined || y === undefined ? undefined : x && y;
      };
    }
    return left;
  };
  const one = (): Ask => {
    const token = list[at++];
    if (!token) throw new Trouble('Something is missing at the end');
    if (token.kind === 'not') {
      const inner = one();
      return (element) => {
        const found = inner(element);
        return found === undefined ? undefined : !found;
      };
    }
    if (token.kind === 'open') {
      const inner = either();
      if (list[at++]?.kind !== 'close') throw new Trouble('A parenthesis is not closed');
      return inner;
    }
    if (token.kind === 'close') throw new Trouble('A parenthesis is closed that was not opened');
    if (token.kind === 'op') throw new Trouble(`\`${token.text}\` needs a field before it, such as \`httpin ${token.text} 1\``);
    if (token.kind === 'and' || token.kind === 'or') throw new Trouble(`${token.text} stands between two questions, and one is missing`);
    const op = peek()?.kind === 'op' ? peek()! : undefined;
    if (op) {
      const field = token.kind === 'word' ? byName.get(token.text.toLowerCase()) : undefined;
      if (!field) throw new Trouble(`There is no field \`${token.text}\`${suggest(token.text)}`);
      at += 1;
      const value = list[at++];
      if (!value || (value.kind !== 'word' && value.kind !== 'text')) throw new Trouble(`A value is missing after \`${token.text} ${op.text}\``);
      return compare(field, op.text, value.text);
    }
    const field = token.kind === 'word' ? byName.get(token.text.toLowerCase()) : undefined;
    if (field?.kind === 'flag') {
      return (element) => read(field, element) as Answer;
    }
    if (field?.kind === 'number') {
      return (element) => {
        const found = read(field, element);
        return typeof found === 'number' ? found > 0 : undefined;
      };
    }
    // A word that is no field looks for names.
    return compare(byName.get('name')!, '*=', token.text);
  };
  try {
    const ask = either();
    if (at < list.length) throw new Trouble('A parenthesis is closed that was not opened');
    return { ok: true, matches: (element) => ask(element) === true, empty: false };
  } catch (error) {
    if (error instanceof Trouble) return { ok: false, error: error.message };
    throw error;
  }
}
