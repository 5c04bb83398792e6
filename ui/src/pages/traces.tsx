/** Traces: the search, and the way from there to one of them. */
import type { TraceList } from '../api/observe';
import { query } from '../api/control';
import { usePolled } from '../api/poll';
import { SearchField } from '../look/control';
import { PageHead, RefreshPicker } from '../shell/head';
import { go, param, setParams } from '../shell/location';
import { clock } from '../words/format';
import { TraceTable } from './trace-table';
import { Waterfall } from './waterfall';

const names = ['service', 'operation', 'minMs', 'maxMs', 'tag', 'code'] as const;

function Search() {
  const values = Object.fromEntries(names.map((name) => [name, param(name)])) as Record<(typeof names)[number], string>;
  const from = param('from');
  const until = param('to');
  const errors = param('errors') === 'true';
  const known = usePolled<TraceList>(`/v1/traces${query({ limit: 1 })}`, 60_000).data?.services ?? [];
  const number = (name: 'minMs' | 'maxMs', label: string) => (
    <label>
      <span class="label">{label}</span>
      <input class="field" style="width:96px" inputMode="numeric" pattern="[0-9]*" value={values[name]} onChange={(event) => setParams({ [name]: event.currentTarget.value.replace(/\D/g, '') })} />
    </label>
  );
  return (
    <div class="page">
      <PageHead title="Traces" sub="Requests on their way through the mesh">
        <SearchField hot value="" onInput={(text) => /^[0-9a-f]{16,32}$/i.test(text.trim()) && go(`/traces/${text.trim().toLowerCase()}`)} placeholder="Trace id" label="Go to a trace by its id" />
        <RefreshPicker />
      </PageHead>
      <form class="filters card" onSubmit={(event) => event.preventDefault()}>
        <label>
          <span class="label">Service</span>
          <input class="field" list="trace-services" value={values.service} onChange={(event) => setParams({ service: event.currentTarget.value.trim() })} placeholder="Any" />
          <datalist id="trace-services">
            {known.map((one) => (
              <option key={one} value={one} />
            ))}
          </datalist>
        </label>
        <label>
          <span class="label">Operation</span>
          <input class="field" value={values.operation} onChange={(event) => setParams({ operation: event.currentTarget.value })} placeholder="GET /reviews" />
        </label>
        {number('minMs', 'At least, ms')}
        {number('maxMs', 'At most, ms')}
        <label>
          <span class="label">Tag</span>
          <input class="field" value={values.tag} onChange={(event) => setParams({ tag: event.currentTarget.value.trim() })} placeholder="key=value" />
        </label>
        <label>
          <span class="label">Code</span>
          <input class="field" style="width:72px" value={values.code} onChange={(event) => setParams({ code: event.currentTarget.value.trim() })} placeholder="503" />
        </label>
        <label class="check" style="height:32px">
          <input type="checkbox" checked={errors} onChange={(event) => setParams({ errors: event.currentTarget.checked ? 'true' : undefined })} />
          With errors
        </label>
        {(from || until) && (
          <button type="button" class="btn" onClick={() => setParams({ from: undefined, to: undefined })} title="Look at all times">
            {clock(from)} to {clock(until)} ×
          </button>
        )}
      </form>
      <TraceTable service={values.service || undefined} more={{ operation: values.operation, minMs: values.minMs, maxMs: values.maxMs, tag: values.tag, code: values.code, errors: errors ? 'true' : undefined, from, to: until }} />
    </div>
  );
}

export function TracesPage({ parts }: { parts: string[] }) {
  return parts[0] ? <Waterfall key={parts[0]} traceId={parts[0]} /> : <Search />;
}
