/** Configuration: every document and every problem, and the way to one of them. */
import { useMemo } from 'preact/hooks';
import type { Problems, ResourceView, Resources } from '../api/control';
import { usePolled } from '../api/poll';
import { Card, Pill, SearchField, Select } from '../look/control';
import { Icon } from '../look/icon';
import { Empty, Loaded } from '../look/states';
import { Table } from '../look/table';
import { PageHead } from '../shell/head';
import { keepParams, param, setParams } from '../shell/location';
import { whyNotWrite } from '../shell/session';
import { ago, count } from '../words/format';
import { ConfigDocument } from './config-document';
import { documentPage } from './documents';
import { Tabs } from './tabs';
import { fits } from './traffic-columns';

function Standing() {
  const entry = usePolled<Problems>('/v1/analysis', 10_000);
  return (
    <Card flush>
      <Loaded entry={entry}>
        {({ problems }) =>
          problems.length === 0 ? (
            <Empty icon="check" title="No problems">
              Every name that a document uses leads somewhere.
            </Empty>
          ) : (
            <ul class="problems">
              {problems.map((problem, i) => (
                <li key={i} class={problem.level}>
                  <Icon name={problem.level === 'error' ? 'error' : problem.level === 'warning' ? 'warning' : 'info'} title={problem.level} />
                  <div class="grow">
                    <p>{problem.message}</p>
                    {problem.hint && <p class="muted">{problem.hint}</p>}
                    <p class="faint where">
                      {problem.resource && (
                        <a href={`${documentPage(problem.resource)}${documentPage(problem.resource).includes('?') ? '&' : '?'}field=${encodeURIComponent(problem.path ?? '')}`}>
                          {problem.resource.kind} <bdi>{problem.resource.namespace ? `${problem.resource.namespace}/` : ''}{problem.resource.name}</bdi>
                        </a>
                      )}
                      {problem.path && <code>{problem.path}</code>}
                      {problem.file && <span>{problem.file}{problem.line > 0 && `:${problem.line}`}</span>}
                    </p>
                  </div>
                  <code class="faint code">{problem.code}</code>
                </li>
              ))}
            </ul>
          )
        }
      </Loaded>
    </Card>
  );
}

function List() {
  const entry = usePolled<Resources>('/v1/resources?all_namespaces=true', 10_000);
  const problems = usePolled<Problems>('/v1/analysis', 15_000).data?.problems;
  const q = param('q');
  const kind = param('kind');
  const ns = param('ns');
  const tab = param('tab') || 'documents';
  const all = entry.data?.resources ?? [];
  const kinds = useMemo(() => [...new Set(all.map((one) => one.key.kind))].sort(), [entry.data]);
  const spaces = useMemo(() => [...new Set(all.map((one) => one.key.namespace ?? ''))].filter(Boolean).sort(), [entry.data]);
  const rows = all.filter((one) => (!kind || one.key.kind === kind) && (!ns || one.key.namespace === ns) && fits(q, one.key.name, one.key.namespace, one.key.kind, one.origin.file));
  const troubled = new Map<string, number>();
  for (const problem of problems ?? []) if (problem.resource) troubled.set(JSON.stringify([problem.resource.kind, problem.resource.namespace ?? '', problem.resource.name]), (troubled.get(JSON.stringify([problem.resource.kind, problem.resource.namespace ?? '', problem.resource.name])) ?? 0) + 1);
  const why = whyNotWrite();
  return (
    <div class="page">
      <PageHead title="Configuration" sub={entry.data ? `${count(all.length, 'document')} at version ${entry.data.version}` : '\u00a0'}>
        <SearchField hot value={q} onInput={(text) => setParams({ q: text })} placeholder="Name, kind, file" label="Filter documents" />
        <Select small label="Kind" value={kind} options={[{ value: '', label: 'All kinds' }, ...kinds.map((one) => ({ value: one, label: one }))]} onChange={(value) => setParams({ kind: value })} />
        <Select small label="Namespace" value={ns} options={[{ value: '', label: 'All namespaces' }, ...spaces.map((one) => ({ value: one, label: one }))]} onChange={(value) => setParams({ ns: value })} />
        {why ? (
          <button class="btn primary small" disabled title={why}>
            <Icon name="plus" /> New
          </button>
        ) : (
          <a class="btn primary small" href={keepParams('/config/new')}>
            <Icon name="plus" /> New
          </a>
        )}
      </PageHead>
      <Tabs on={tab} tabs={[{ key: 'documents', label: 'Documents', count: entry.data ? rows.length : undefined }, { key: 'problems', label: 'Problems', count: problems?.length }]} />
      {tab === 'problems' ? (
        <Standing />
      ) : (
        <Card flush>
          <Loaded entry={entry}>
            {() => (
              <Table<ResourceView>
                label="Documents"
                rows={rows}
                id={(one) => `${one.key.kind}/${one.key.namespace ?? ''}/${one.key.name}`}
                sort="kind"
                empty={<Empty icon="config" title={q || kind || ns ? 'No document fits' : 'No documents yet'}>{q || kind || ns ? 'Take a filter away.' : 'halcyon apply -f FILE writes some, and so does New.'}</Empty>}
                columns={[
                  { key: 'kind', title: 'Kind', by: (one) => one.key.kind, cell: (one) => <span class="muted">{one.key.kind}</span> },
                  {
                    key: 'name',
                    title: 'Name',
                    by: (one) => one.key.name,
                    cell: (one) => {
                      const n = troubled.get(JSON.stringify([one.key.kind, one.key.namespace ?? '', one.key.name]));
                      return (
                        <span class="row">
                          <a class="clip" href={documentPage(one.key)}>
                            <bdi>{one.key.name}</bdi>
                          </a>
                          {n !== undefined && <Pill kind="warn"><Icon name="warning" size={12} />{n}</Pill>}
                        </span>
                      );
                    },
                  },
                  { key: 'ns', title: 'Namespace', by: (one) => one.key.namespace, cell: (one) => <bdi class="muted">{one.key.namespace ?? '–'}</bdi> },
                  { key: 'origin', title: 'Written in', wide: true, by: (one) => one.origin.file, cell: (one) => <span class="clip faint">{one.source === 'files' ? 'directory: ' : ''}{one.origin.file}{one.origin.line > 0 && `:${one.origin.line}`}</span> },
                  { key: 'generation', title: 'Changes', num: true, wide: true, by: (one) => one.generation, cell: (one) => one.generation },
                  { key: 'created', title: 'Since', num: true, by: (one) => one.created, cell: (one) => <span class="muted">{ago(one.created)}</span> },
                ]}
              />
            )}
          </Loaded>
        </Card>
      )}
    </div>
  );
}

export function ConfigPage({ parts }: { parts: string[] }) {
  const [kind, namespace, name] = parts;
  if (kind === 'new') return <ConfigDocument />;
  if (kind && namespace && name) return <ConfigDocument key={`${kind}/${namespace}/${name}`} of={{ kind, namespace: namespace === '-' ? undefined : namespace, name }} />;
  return <List />;
}
