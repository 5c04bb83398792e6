/** Who we are: asked at the start and after signing in. What may be written follows from it. */
import { signal } from '@preact/signals';
import { Refused, asFailure, call, onSignedOut, type Failure } from '../api/call';
import type { Whoami } from '../api/control';
import { refresh } from '../api/poll';

export type Session =
  | { state: 'asking' }
  | { state: 'out'; failure?: Failure }
  | { state: 'in'; who: Whoami }
  | { state: 'unreachable'; failure: Failure };

export const session = signal<Session>({ state: 'asking' });

export async function ask(): Promise<void> {
  try {
    session.value = { state: 'in', who: await call<Whoami>('/v1/whoami') };
  } catch (error) {
    if (error instanceof Refused && error.status === 401) session.value = { state: 'out' };
    else if (session.peek().state === 'asking' || session.peek().state === 'unreachable') {
      session.value = { state: 'unreachable', failure: asFailure(error) };
      window.setTimeout(() => void ask(), 3000);
    }
  }
}

export async function signIn(token: string): Promise<Failure | undefined> {
  try {
    await call('/login', { method: 'POST', body: { token } });
    await ask();
    refresh();
    return undefined;
  } catch (error) {
    return asFailure(error);
  }
}

export async function signOut(): Promise<void> {
  try {
    await call('/logout', { method: 'POST' });
  } finally {
    session.value = { state: 'out' };
  }
}

onSignedOut(() => {
  if (session.peek().state !== 'out') session.value = { state: 'out' };
});

/** Why this user may not write there; undefined if they may. */
export function whyNotWrite(namespace?: string): string | undefined {
  const now = session.value;
  if (now.state !== 'in') return 'You are not signed in';
  if (now.who.role === 'viewer') return 'Your role is viewer: it reads, and writes nothing. Ask for the role operator';
  if (namespace && now.who.namespaces && now.who.role === 'operator' && !now.who.namespaces.includes(namespace)) {
    return `Your role covers ${now.who.namespaces.join(', ')}, and not ${namespace}`;
  }
  return undefined;
}
