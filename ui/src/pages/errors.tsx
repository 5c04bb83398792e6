/** Recent errors of the whole mesh, or of one workload. */
import type { Mesh } from '../api/mesh';
import { usePolled } from '../api/poll';
import { Card, SearchField, Select } from '../look/control';
import { PageHead, RefreshPicker } from '../shell/head';
import { param, setParams } from '../shell/location';
import { Refusals } from './refusals';
import { fits } from './traffic-columns';

export function ErrorsPage() {
  const mesh = usePolled<Mesh>('/v1/mesh', 0).data;
  const q = param('q');
  const namespace = param('namespace');
  return (
    <div class="page">
      <PageHead title="Errors" sub="What was refused or failed, and why, in the words of the proxy that saw it">
        <SearchField hot value={q} onInput={(text) => setParams({ q: text })} placeholder="Reason, host, path, code" label="Filter errors" />
        <Select
          small
          label="Namespace"
          value={namespace}
          options={[{ value: '', label: 'All namespaces' }, ...(mesh?.namespaces ?? (namespace ? [namespace] : [])).map((one) => ({ value: one, label: one }))]}
          onChange={(value) => setParams({ namespace: value, workload: undefined })}
        />
        <RefreshPicker />
      </PageHead>
      <Card title={param('workload') ? `At ${namespace}/${param('workload')}` : 'Newest first'} flush aside={param('workload') ? <button class="btn small" onClick={() => setParams({ workload: undefined })}>All workloads</button> : undefined}>
        <Refusals
          namespace={namespace || undefined}
          workload={param('workload') || undefined}
          limit={100}
          filter={(one) => fits(q, one.why, one.reason, one.host, one.path, String(one.status), one.flags?.join(' '), one.from, one.workload)}
        />
      </Card>
    </div>
  );
}
