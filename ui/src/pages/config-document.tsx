/** One document: its YAML with the validation of `apply`, what would change, its history, and the way back. */
import { useEffect, useRef, useState } from 'preact/hooks';
import { asFailure, type Failure, type ResourceKey } from '../api/call';
import { apply, query, remove, type Resources } from '../api/control';
import type { History } from '../api/mesh';
import { refresh, usePolled } from '../api/poll';
import { Diff } from '../editor/diff';
import { textOf } from '../editor/document';
import { lineDiff } from '../editor/lines';
import { useVerdict, type Verdict } from '../editor/validate';
import { YamlEditor, type EditorHandle } from '../editor/yaml-editor';
import { Card, Pill } from '../look/control';
import { Icon } from '../look/icon';
import { Empty, FailureNote, FailureState, Loaded, Note, ProblemList, SkeletonRows } from '../look/states';
import { say } from '../look/toast';
import { PageHead } from '../shell/head';
import { go, keepParams, param } from '../shell/location';
import { whyNotWrite } from '../shell/session';
import { ago, count, dateTime } from '../words/format';
import './config.css';
import { documentPage } from './documents';
import './refusals.css';
import { Tabs } from './tabs';

const begin = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
  namespace: default
spec:
  hosts: [reviews]
  http:
    - route:
        - destination: {host: reviews}
`;

function VerdictLine({ verdict, changed }: { verdict: Verdict; changed: boolean }) {
  if (!changed) return <span class="faint">No changes</span>;
  if (verdict.state === 'asking' || verdict.state === 'idle') return <span class="faint">Checking…</span>;
  if (verdict.state === 'unknown') return <span style="color:var(--bad)">{verdict.failure?.error}</span>;
  if (verdict.state === 'refused') return <span class="row" style="color:var(--bad)"><Icon name="error" /> {count(verdict.problems.filter((one) => one.level === 'error').length, 'error')}: it would be refused</span>;
  const touched = verdict.plan?.groups.reduce((sum, group) => sum + group.proxies.length, 0);
  return (
    <span class="row" style="color:var(--good)">
      <Icon name="check" /> Valid{verdict.problems.length > 0 ? `, ${count(verdict.problems.length, 'warning')}` : ''}
      {touched !== undefined && <span class="faint">concerns {touched} of {count(verdict.plan!.connected, 'proxy', 'proxies')}</span>}
    </span>
  );
}

function Past({ of, present, why }: { of: ResourceKey; present: string; why?: string }) {
  const entry = usePolled<History>(`/v1/history${query({ kind: of.kind, namespace: of.namespace, name: of.name })}`, 15_000);
  const [open, setOpen] = useState<number>();
  const [failure, setFailure] = useState<Failure>();
  const back = async (yaml: string, version: number) => {
    setFailure(undefined);
    try {
      const done = await apply(yaml, of.namespace);
      say(`Rolled back to version ${version}, as version ${done.version}`);
      refresh('/v1/');
    } catch (error) {
      setFailure(asFailure(error));
    }
  };
  return (
    <Card flush>
      {failure && <FailureNote failure={failure} />}
      <Loaded entry={entry}>
        {(history) =>
          history.entries.length === 0 ? (
            <Empty icon="history" title="No history">
              The audit log holds no change of it.
            </Empty>
          ) : (
            <ul>
              {history.entries.map((one, i) => {
                const differs = one.yaml !== undefined && lineDiff(present, one.yaml).length > 0;
                return (
                  <li class="refusal" key={`${one.version}${one.time}`}>
                    <div class="row" style="padding-right:16px">
                      <button class="refusal-head" aria-expanded={open === i} onClick={() => setOpen(open === i ? undefined : i)}>
                        <span class={`turn ${open === i ? 'open' : ''}`}>
                          <Icon name="chevron" size={12} />
                        </span>
                        <Pill kind={one.action === 'created' ? 'good' : one.action === 'deleted' ? 'warn' : 'info'}>{one.action}</Pill>
                        <span class="grow what">
                          <span>
                            version {one.version} by <bdi>{one.by}</bdi>
                          </span>
                          <span class="faint clip">{dateTime(one.time)}, {ago(one.time)}</span>
                        </span>
                        <span class="faint who">{one.diff.filter((line) => line[0] === '+').length} added, {one.diff.filter((line) => line[0] === '-').length} removed</span>
                      </button>
                      {one.yaml !== undefined && (
                        <button class="btn small" disabled={!!why || !differs} title={why ?? (differs ? 'Write the document as it was then' : 'It is so now')} onClick={() => void back(one.yaml!, one.version)}>
                          <Icon name="retry" /> Roll back
                        </button>
                      )}
                    </div>
                    {open === i && (
                      <div class="refusal-body stack-s">
                        <Diff lines={one.diff} />
                        {differs && i > 0 && (
                          <>
                            <h3 class="muted">What a roll-back would change now</h3>
                            <Diff lines={lineDiff(present, one.yaml!)} />
                          </>
                        )}
                      </div>
                    )}
                  </li>
                );
              })}
              {history.more && <li class="more faint">There are older ones in the audit log.</li>}
            </ul>
          )
        }
      </Loaded>
    </Card>
  );
}

export function ConfigDocument({ of }: { of?: ResourceKey }) {
  const entry = usePolled<Resources>(of ? `/v1/resources${query({ kind: of.kind, namespace: of.namespace, name: of.name, all_namespaces: !of.namespace })}` : null, 10_000);
  const resource = entry.data?.resources[0];
  const stored = resource ? textOf(resource.document) : '';
  const [text, setText] = useState(of ? '' : begin);
  const [base, setBase] = useState<string>();
  const [failure, setFailure] = useState<Failure>();
  const [busy, setBusy] = useState(false);
  const editor = useRef<EditorHandle>();
  const tab = param('tab') || 'yaml';
  const files = resource?.source === 'files';
  const why = whyNotWrite(of?.namespace) ?? (files ? `It stands in the watched directory, in ${resource.origin.file}: change it there` : undefined);
  const changed = of ? base !== undefined && text !== base : true;
  const verdict = useVerdict(text, of?.namespace, changed, true);
  const moved = base !== undefined && stored !== '' && stored !== base;

  useEffect(() => {
    if (stored && (base === undefined || !changed)) {
      setBase(stored);
      setText(stored);
    }
  }, [stored]);
  useEffect(() => {
    const leave = (event: BeforeUnloadEvent) => {
      if (of && changed) event.preventDefault();
    };
    window.addEventListener('beforeunload', leave);
    return () => window.removeEventListener('beforeunload', leave);
  }, [changed]);

  const write = async () => {
    if (why || busy || !changed || verdict.state === 'refused') return;
    setBusy(true);
    setFailure(undefined);
    try {
      const done = await apply(text, of?.namespace);
      const first = done.results[0];
      say(`${first ? `${first.key.kind} ${first.key.name} is ${first.outcome}` : 'Applied'}, version ${done.version}`);
      setBase(text);
      refresh('/v1/');
      if (!of && first) go(documentPage(first.key));
    } catch (error) {
      setFailure(asFailure(error));
    }
    setBusy(false);
  };
  const erase = async () => {
    if (!of || !window.confirm(`Delete ${of.kind} ${of.name}?`)) return;
    try {
      await remove(of);
      say(`${of.kind} ${of.name} is deleted`);
      refresh('/v1/');
      go(keepParams('/config'));
    } catch (error) {
      setFailure(asFailure(error));
    }
  };
  if (of && !entry.data) return entry.failure ? <FailureState failure={entry.failure} /> : <SkeletonRows rows={14} />;
  const gone = of && entry.data && !resource;
  return (
    <div class="page config-page">
      <PageHead
        crumb={<a href={keepParams('/config')}>Configuration</a>}
        title={of ? <><bdi>{of.name}</bdi> <Pill>{of.kind}</Pill></> : 'New document'}
        sub={resource ? <>in <bdi>{of?.namespace ?? 'no namespace'}</bdi>, changed {count(resource.generation, 'time')}, written in {resource.origin.file}</> : undefined}
      >
        {of && resource && (
          <button class="btn danger" disabled={!!why} title={why} onClick={() => void erase()}>
            Delete
          </button>
        )}
      </PageHead>
      {of && <Tabs on={tab} tabs={[{ key: 'yaml', label: 'YAML' }, { key: 'diff', label: 'Changes' }, { key: 'history', label: 'History' }]} />}
      {gone && <Note kind="warn">It does not exist now. Its history may bring it back.</Note>}
      {moved && changed && (
        <Note kind="warn">
          Somebody else wrote it meanwhile. What you write would replace that.{' '}
          <button class="linklike" onClick={() => (setBase(stored), setText(stored))}>
            Take theirs
          </button>
        </Note>
      )}
      {tab === 'history' && of ? (
        <Past of={of} present={stored} why={why} />
      ) : tab === 'diff' && of ? (
        <Card title="What would change">
          <Diff lines={lineDiff(base ?? '', text)} />
        </Card>
      ) : (
        !gone &&
        (!of || base !== undefined) && (
          <div class="config-edit">
            <Card flush>
              <YamlEditor label="YAML of the document" value={text} onChange={setText} problems={verdict.problems} readOnly={!!why} handle={(handle) => (editor.current = handle)} onSave={() => void write()} />
            </Card>
            {verdict.problems.length > 0 && (
              <Card flush title="Problems">
                <ProblemList problems={verdict.problems} onLine={(line, column) => editor.current?.goTo(line, column)} />
              </Card>
            )}
          </div>
        )
      )}
      {failure && <FailureNote failure={failure} />}
      {tab !== 'history' && !gone && (
        <div class="config-foot">
          <span class="grow" role="status">
            <VerdictLine verdict={verdict} changed={changed} />
          </span>
          {why ? <span class="faint config-why">{why}</span> : null}
          {of && (
            <button class="btn" disabled={!changed} onClick={() => setText(base ?? stored)}>
              Reset
            </button>
          )}
          <button class="btn primary" disabled={!!why || busy || !changed || verdict.state !== 'good'} title={why} onClick={() => void write()}>
            {busy ? 'Applying…' : 'Apply'}
          </button>
        </div>
      )}
    </div>
  );
}
