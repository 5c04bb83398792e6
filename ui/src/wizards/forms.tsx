/** The forms of the wizards: each turns what is chosen into documents. What they write stands in `yaml.ts`. */
import { useState } from 'preact/hooks';
import { Segmented, Select } from '../look/control';
import { Note } from '../look/states';
import { breakCircuit, choices, destinationRuleOf, injectFault, millisOf, routeByHeader, setPatience, shiftTraffic, slide, virtualServiceOf, weightsNow, type Doc, type Shift, type Target } from './yaml';

export interface FormProps {
  documents: Doc[];
  target: Target;
  /** What is to be written; undefined as long as something is missing. */
  write: (documents: Doc[] | undefined) => void;
}

function Number_({ label, value, onChange, unit, min = 0, max }: { label: string; value: number | undefined; onChange: (value: number | undefined) => void; unit?: string; min?: number; max?: number }) {
  return (
    <label class="num-field">
      <span class="label">{label}</span>
      <span class="row">
        <input
          class="field"
          type="number"
          min={min}
          max={max}
          value={value ?? ''}
          onInput={(event) => {
            const text = event.currentTarget.value;
            const number = Number(text);
            onChange(text === '' || !Number.isFinite(number) ? undefined : Math.min(max ?? Infinity, Math.max(min, number)));
          }}
        />
        {unit && <span class="faint">{unit}</span>}
      </span>
    </label>
  );
}

/** Calls `write` with what a state makes, now and after each change. */
function useWish<T>(first: T, make: (wish: T) => Doc[] | undefined, write: FormProps['write']): [T, (change: Partial<T>) => void] {
  const [wish, setWish] = useState<T>(() => {
    queueMicrotask(() => write(make(first)));
    return first;
  });
  return [
    wish,
    (change) => {
      const next = { ...wish, ...change };
      setWish(next);
      write(make(next));
    },
  ];
}

export function ShiftForm({ documents, target, write }: FormProps) {
  const [wish, set] = useWish<Shift>({ weights: weightsNow(documents, target) }, ({ weights }) => (weights.length === 0 ? undefined : shiftTraffic(documents, target, weights)), write);
  if (wish.weights.length < 2) return <Note kind="warn">There is only one version of this service: nothing to shift between. Start a second one, with another label version.</Note>;
  return (
    <div class="stack">
      <p class="muted">Move a slider; the others share the rest as before.</p>
      <div class="split-bar" aria-hidden="true">
        {wish.weights.map((one, i) => (one.weight > 0 ? <i key={one.subset} style={{ flexGrow: one.weight, background: `var(--c${(i % 7) + 1})` }} /> : null))}
      </div>
      {wish.weights.map((one, i) => (
        <label key={one.subset} class="slider">
          <span class="row">
            <i class="swatch" style={{ background: `var(--c${(i % 7) + 1})` }} />
            <strong class="grow">
              <bdi>{one.subset}</bdi>
            </strong>
            <output>{one.weight} %</output>
          </span>
          <input type="range" min={0} max={100} value={one.weight} aria-label={`Share of ${one.subset}`} onInput={(event) => set(slide(wish, one.subset, Number(event.currentTarget.value)))} />
        </label>
      ))}
      <div class="row wrap">
        {wish.weights.map((one) => (
          <button key={one.subset} type="button" class="btn small" onClick={() => set(slide(wish, one.subset, 100))}>
            All to <bdi>{one.subset}</bdi>
          </button>
        ))}
      </div>
    </div>
  );
}

export function RouteForm({ documents, target, write }: FormProps) {
  const subsets = choices(target);
  const [wish, set] = useWish(
    { header: 'end-user', how: 'exact' as 'exact' | 'prefix' | 'regex', value: '', subset: subsets[subsets.length - 1] ?? '' },
    (now) => (now.header.trim() === '' || now.value === '' || !/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(now.header.trim()) || !now.subset ? undefined : routeByHeader(documents, target, { ...now, header: now.header.trim() })),
    write,
  );
  if (subsets.length === 0) return <Note kind="warn">There is no version to route to.</Note>;
  return (
    <div class="stack">
      <p class="muted">Requests with this header go to one version; all others as before.</p>
      <label>
        <span class="label">Header</span>
        <input class="field" style="width:100%" value={wish.header} onInput={(event) => set({ header: event.currentTarget.value })} />
      </label>
      <div>
        <span class="label">Its value</span>
        <Segmented small label="How the value is compared" value={wish.how} options={[{ value: 'exact', label: 'is' }, { value: 'prefix', label: 'begins with' }, { value: 'regex', label: 'fits regex' }]} onChange={(how) => set({ how })} />
        <input class="field" style="width:100%;margin-top:8px" aria-label="Value" placeholder="jason" value={wish.value} onInput={(event) => set({ value: event.currentTarget.value })} />
      </div>
      <label>
        <span class="label">Goes to</span>
        <Select label="Goes to" value={wish.subset} options={subsets.map((one) => ({ value: one, label: one }))} onChange={(subset) => set({ subset })} />
      </label>
    </div>
  );
}

export function FaultForm({ documents, target, write }: FormProps) {
  const [wish, set] = useWish(
    { delayOn: true, ms: 2000 as number | undefined, delayPercent: 10 as number | undefined, abortOn: false, status: 503 as number | undefined, abortPercent: 10 as number | undefined, some: true, header: 'end-user', value: 'tester' },
    (now) => {
      if (now.some && (now.header.trim() === '' || now.value === '')) return undefined;
      if (now.delayOn && (!now.ms || now.delayPercent === undefined)) return undefined;
      if (now.abortOn && (!now.status || now.abortPercent === undefined)) return undefined;
      return injectFault(documents, target, {
        delay: now.delayOn ? { ms: now.ms!, percent: now.delayPercent! } : undefined,
        abort: now.abortOn ? { status: now.status!, percent: now.abortPercent! } : undefined,
        only: now.some ? { header: now.header.trim(), value: now.value } : undefined,
      });
    },
    write,
  );
  return (
    <div class="stack">
      <label class="check">
        <input type="checkbox" checked={wish.delayOn} onChange={(event) => set({ delayOn: event.currentTarget.checked })} /> Delay
      </label>
      {wish.delayOn && (
        <div class="row wrap">
          <Number_ label="By" unit="ms" min={1} max={600_000} value={wish.ms} onChange={(ms) => set({ ms })} />
          <Number_ label="Of requests" unit="%" max={100} value={wish.delayPercent} onChange={(delayPercent) => set({ delayPercent })} />
        </div>
      )}
      <label class="check">
        <input type="checkbox" checked={wish.abortOn} onChange={(event) => set({ abortOn: event.currentTarget.checked })} /> Abort
      </label>
      {wish.abortOn && (
        <div class="row wrap">
          <Number_ label="With status" min={200} max={599} value={wish.status} onChange={(status) => set({ status })} />
          <Number_ label="Of requests" unit="%" max={100} value={wish.abortPercent} onChange={(abortPercent) => set({ abortPercent })} />
        </div>
      )}
      <label class="check">
        <input type="checkbox" checked={wish.some} onChange={(event) => set({ some: event.currentTarget.checked })} /> Only for requests with a header
      </label>
      {wish.some ? (
        <div class="row wrap">
          <label>
            <span class="label">Header</span>
            <input class="field" value={wish.header} onInput={(event) => set({ header: event.currentTarget.value })} />
          </label>
          <label>
            <span class="label">Is</span>
            <input class="field" value={wish.value} onInput={(event) => set({ value: event.currentTarget.value })} />
          </label>
        </div>
      ) : (
        (wish.delayOn || wish.abortOn) && <Note kind="warn">It strikes all callers of this service, also real users.</Note>
      )}
      {!wish.delayOn && !wish.abortOn && <Note>Faults that are injected {wish.some ? 'for this header' : 'on any route'} are taken away.</Note>}
    </div>
  );
}

export function PatienceForm({ documents, target, write }: FormProps) {
  const present = (virtualServiceOf(documents, target)?.spec.http as Record<string, any>[] | undefined)?.find((one) => !one.match);
  const [wish, set] = useWish(
    {
      timeoutMs: (millisOf(present?.timeout) ?? (present ? undefined : 3000)) as number | undefined,
      attempts: (present?.retries?.attempts ?? (present ? undefined : 2)) as number | undefined,
      perTryMs: millisOf(present?.retries?.perTryTimeout) as number | undefined,
      retryOn: (present?.retries?.retryOn ?? 'connect-failure,refused-stream,unavailable,cancelled,5xx') as string,
    },
    (now) => setPatience(documents, target, now),
    write,
  );
  const tries = (wish.attempts ?? 0) + 1;
  const needs = wish.perTryMs && wish.timeoutMs && wish.perTryMs * tries > wish.timeoutMs;
  return (
    <div class="stack">
      <p class="muted">Empty means: the mesh's own setting.</p>
      <Number_ label="Timeout for the whole request" unit="ms" value={wish.timeoutMs} onChange={(timeoutMs) => set({ timeoutMs: timeoutMs || undefined })} />
      <Number_ label="Retries" max={20} value={wish.attempts} onChange={(attempts) => set({ attempts })} />
      {wish.attempts !== undefined && wish.attempts > 0 && (
        <>
          <Number_ label="Timeout of each try" unit="ms" value={wish.perTryMs} onChange={(perTryMs) => set({ perTryMs: perTryMs || undefined })} />
          <label>
            <span class="label">Retry on</span>
            <input class="field" style="width:100%" value={wish.retryOn} onInput={(event) => set({ retryOn: event.currentTarget.value })} />
          </label>
        </>
      )}
      {needs && <Note kind="warn">{tries} tries of {wish.perTryMs} ms do not fit into {wish.timeoutMs} ms: the last ones are cut short.</Note>}
    </div>
  );
}

export function BreakerForm({ documents, target, write }: FormProps) {
  const policy = destinationRuleOf(documents, target)?.spec.trafficPolicy as Record<string, any> | undefined;
  const [wish, set] = useWish(
    {
      on: true,
      maxConnections: (policy?.connectionPool?.tcp?.maxConnections ?? 100) as number | undefined,
      maxPending: (policy?.connectionPool?.http?.http1MaxPendingRequests ?? 64) as number | undefined,
      maxRequests: policy?.connectionPool?.http?.http2MaxRequests as number | undefined,
      errors: (policy?.outlierDetection?.consecutive5xxErrors ?? 5) as number | undefined,
      intervalMs: (millisOf(policy?.outlierDetection?.interval) ?? 10_000) as number | undefined,
      ejectMs: (millisOf(policy?.outlierDetection?.baseEjectionTime) ?? 30_000) as number | undefined,
      mostPercent: (policy?.outlierDetection?.maxEjectionPercent ?? 50) as number | undefined,
    },
    (now) => breakCircuit(documents, target, now),
    write,
  );
  return (
    <div class="stack">
      <Segmented small label="Circuit breaker" value={wish.on ? 'on' : 'off'} options={[{ value: 'on', label: 'Set' }, { value: 'off', label: 'Take away' }]} onChange={(on) => set({ on: on === 'on' })} />
      {wish.on && (
        <>
          <h3>At most, for each caller's proxy</h3>
          <div class="row wrap">
            <Number_ label="Connections" min={1} value={wish.maxConnections} onChange={(maxConnections) => set({ maxConnections })} />
            <Number_ label="Waiting requests" min={1} value={wish.maxPending} onChange={(maxPending) => set({ maxPending })} />
            <Number_ label="Requests (HTTP/2)" min={1} value={wish.maxRequests} onChange={(maxRequests) => set({ maxRequests })} />
          </div>
          <h3>Endpoints that fail are left out</h3>
          <div class="row wrap">
            <Number_ label="After errors in a row" min={1} value={wish.errors} onChange={(errors) => set({ errors })} />
            <Number_ label="Looked at every" unit="ms" min={1} value={wish.intervalMs} onChange={(intervalMs) => set({ intervalMs })} />
            <Number_ label="Left out for" unit="ms" min={1} value={wish.ejectMs} onChange={(ejectMs) => set({ ejectMs })} />
            <Number_ label="At most of all" unit="%" min={1} max={100} value={wish.mostPercent} onChange={(mostPercent) => set({ mostPercent })} />
          </div>
        </>
      )}
    </div>
  );
}
