/** Asks for a token and trades it for a cookie. */
import { useState } from 'preact/hooks';
import type { Failure } from '../api/call';
import { FailureNote, Note } from '../look/states';
import { search } from './location';
import { signIn } from './session';

export function SignIn() {
  const [token, setToken] = useState('');
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<Failure>();
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setFailure(undefined);
    const refused = await signIn(token.trim());
    setBusy(false);
    setFailure(refused);
  };
  return (
    <main class="signin">
      <form class="card" onSubmit={submit}>
        <h1>
          <img src="/favicon.svg" alt="" width="28" height="28" /> Sign in to Halcyon
        </h1>
        {search.value.has('expired') && <Note kind="warn">That address was good once, and for five minutes. <code>halcyon dashboard</code> prints another.</Note>}
        <p class="muted">Paste a token of yours. An admin makes one with</p>
        <pre class="yaml" tabIndex={0}>halcyon user token NAME</pre>
        <input type="text" name="username" autocomplete="username" value="halcyon" hidden readOnly />
        <div>
          <label class="label" for="token">
            Token
          </label>
          <input
            id="token"
            class="field"
            style="width:100%"
            type="password"
            autocomplete="current-password"
            autofocus
            required
            value={token}
            onInput={(event) => setToken(event.currentTarget.value)}
          />
        </div>
        {failure && <FailureNote failure={failure} />}
        <button class="btn primary" disabled={busy || token.trim() === ''}>
          {busy ? 'Signing in…' : 'Sign in'}
        </button>
      </form>
    </main>
  );
}
