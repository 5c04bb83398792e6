/** One call to the control plane: same origin, with the cookie; a refusal keeps the words of the server. */

export interface Problem {
  level: 'info' | 'warning' | 'error';
  code: string;
  file?: string;
  line: number;
  column: number;
  path?: string;
  message: string;
  expected?: string;
  hint?: string;
  resource?: ResourceKey;
}

export interface ResourceKey {
  kind: string;
  namespace?: string;
  name: string;
}

export interface Failure {
  error: string;
  hint?: string;
  problems?: Problem[];
}

/** The server refused (status above 0) or could not be reached (status 0). */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly failure: Failure,
  ) {
    super(failure.error);
  }
}

export interface CallOptions {
  method?: 'GET' | 'POST' | 'PUT' | 'DELETE';
  body?: unknown;
  signal?: AbortSignal;
}

/** Who has not answered by then is taken for gone: a frozen control plane keeps its connections open. */
const patienceMs = 20_000;

type Listener = () => void;
const signedOut = new Set<Listener>();

/** Is told when the server no longer knows us. */
export function onSignedOut(listener: Listener): void {
  signedOut.add(listener);
}

function looksLikeFailure(value: unknown): value is Failure {
  return typeof value === 'object' && value !== null && typeof (value as Failure).error === 'string';
}

async function failureOf(response: Response): Promise<Failure> {
  try {
    const value: unknown = await response.json();
    if (looksLikeFailure(value)) return value;
  } catch {
    /* Said below. */
  }
  return {
    error: `The control plane answered ${response.status}${response.statusText ? ` ${response.statusText}` : ''}`,
    hint: response.status === 404 ? 'This control plane does not know the call. Is it older than the dashboard?' : '',
  };
}

function late(): Refused {
  return new Refused(0, { error: 'The control plane does not answer', hint: `Nothing came within ${patienceMs / 1000} seconds.` });
}

export async function call<T>(path: string, options: CallOptions = {}): Promise<T> {
  const method = options.method ?? 'GET';
  const headers: Record<string, string> = { accept: 'application/json' };
  if (method !== 'GET') headers['x-halcyon-dashboard'] = '1';
  if (options.body !== undefined) headers['content-type'] = 'application/json';
  const enough = AbortSignal.timeout(patienceMs);
  const signal = options.signal ? AbortSignal.any([options.signal, enough]) : enough;
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers,
      credentials: 'same-origin',
      cache: 'no-store',
      body: options.body === undefined ? undefined : JSON.stringify(options.body),
      signal,
    });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    if (enough.aborted) throw late();
    throw new Refused(0, { error: 'The control plane cannot be reached', hint: 'Is it running, and is the way to it open?' });
  }
  if (!response.ok) {
    const failure = await failureOf(response);
    if (response.status === 401 && path !== '/login') signedOut.forEach((listener) => listener());
    throw new Refused(response.status, failure);
  }
  if (response.status === 204) return undefined as T;
  try {
    return (await response.json()) as T;
  } catch (error) {
    if (options.signal?.aborted) throw error;
    if (enough.aborted) throw late();
    throw new Refused(response.status, {
      error: 'The answer is not one of the control plane',
      hint: 'Something between answered in its place: a proxy or a sign-in page.',
    });
  }
}

export function asFailure(error: unknown): Failure {
  if (error instanceof Refused) return error.failure;
  return { error: error instanceof Error ? error.message : String(error) };
}
