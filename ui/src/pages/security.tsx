/** Security: the authority and its roots, certificates by their end, who takes plain text, who may call whom. */
import { stringify } from 'yaml';
import type { AccessGraph, CaStatus, MutualTlsPlan } from '../api/control';
import type { Mesh } from '../api/mesh';
import { usePolled } from '../api/poll';
import { Card, Pill } from '../look/control';
import { Empty, Loaded, Note } from '../look/states';
import { Table } from '../look/table';
import { PageHead } from '../shell/head';
import { param, to } from '../shell/location';
import { ago, dateTime } from '../words/format';
import { Tabs } from './tabs';
import { Expiry, MtlsPill } from './workloads';

function Authority() {
  const entry = usePolled<CaStatus>('/v1/ca', 15_000);
  return (
    <Loaded entry={entry}>
      {(ca) => (
        <>
          {ca.phase !== 'idle' && (
            <Note kind="warn">
              {ca.phase === 'prepared' ? 'A new root is prepared: proxies are being told of it.' : 'A new root is in use, and the old one is still trusted.'} {ca.waiting_for && ca.waiting_for.length > 0 && `Waiting for ${ca.waiting_for.length} proxies.`}
            </Note>
          )}
          <div class="grid">
            <Card title="Authority">
              <dl class="facts">
                <dt>Trust domain</dt>
                <dd>{ca.trust_domain}</dd>
                <dt>Signs until</dt>
                <dd>{dateTime(ca.not_after)} <span class="faint">({ago(ca.not_after)})</span></dd>
                <dt>Kind</dt>
                <dd>{ca.self_signed ? 'a root of its own' : 'an intermediate of another authority'}</dd>
                <dt>Rotation</dt>
                <dd>{ca.phase === 'idle' ? 'none under way' : ca.phase}</dd>
              </dl>
            </Card>
            <Card title="Revoked" flush>
              <Table
                label="Revoked"
                rows={ca.revoked ?? []}
                id={(one) => one.identity + (one.serial ?? '')}
                empty={<Empty icon="check" title="Nothing is revoked" />}
                columns={[
                  { key: 'name', title: 'Identity', cell: (one) => <code>{one.identity}</code> },
                  { key: 'serial', title: 'Serial', wide: true, cell: (one) => <code>{one.serial || 'all'}</code> },
                  { key: 'since', title: 'Since', num: true, cell: (one) => ago(one.since) },
                ]}
              />
            </Card>
          </div>
          <Card title="Trusted roots" flush>
            <Table
              label="Roots"
              rows={ca.roots}
              id={(one) => one.fingerprint}
              columns={[
                { key: 'state', title: 'State', cell: (one) => <Pill kind={one.state === 'active' ? 'good' : one.state === 'retiring' ? 'warn' : 'info'}>{one.state}</Pill> },
                { key: 'name', title: 'Subject', cell: (one) => <bdi>{one.subject}</bdi> },
                { key: 'fingerprint', title: 'SHA-256', wide: true, cell: (one) => <code title={one.fingerprint}>{one.fingerprint.slice(0, 16)}…</code> },
                { key: 'ends', title: 'Ends', num: true, by: (one) => one.not_after, cell: (one) => <span title={one.not_after}>{ago(one.not_after)}</span> },
              ]}
            />
          </Card>
        </>
      )}
    </Loaded>
  );
}

function Certificates() {
  const mesh = usePolled<Mesh>('/v1/mesh', 15_000);
  return (
    <Card flush>
      <Loaded entry={mesh}>
        {(data) => (
          <Table
            label="Certificates"
            rows={data.workloads.flatMap((workload) => workload.instances.map((instance) => ({ workload, instance })))}
            id={(one) => `${one.workload.namespace}/${one.instance.name}${one.instance.address}`}
            sort="ends"
            empty={<Empty icon="shield" title="No certificates yet">A workload gets one when its proxy joins.</Empty>}
            columns={[
              { key: 'name', title: 'Instance', by: (one) => one.instance.name, cell: (one) => <a class="clip" href={to('workloads', one.workload.namespace, one.workload.name)}><bdi>{one.instance.name}</bdi></a> },
              { key: 'identity', title: 'Identity', wide: true, by: (one) => one.workload.identity, cell: (one) => <code>{one.workload.identity}</code> },
              { key: 'mtls', title: 'Takes', by: (one) => one.workload.mtls, cell: (one) => (one.instance.node ? <MtlsPill mode={one.workload.mtls} /> : <Pill kind="warn">No proxy</Pill>) },
              { key: 'ends', title: 'Ends', num: true, by: (one) => one.instance.certificateExpires ?? '~', cell: (one) => <Expiry at={one.instance.certificateExpires} /> },
            ]}
          />
        )}
      </Loaded>
    </Card>
  );
}

function Way() {
  const entry = usePolled<MutualTlsPlan>('/v1/mtls', 20_000);
  return (
    <Loaded entry={entry}>
      {(plan) => {
        const open = plan.servers.filter((server) => server.ports.some((port) => port.mode !== 'STRICT'));
        return (
          <>
            {plan.steps.length === 0 ? <Note kind="good">Every server takes mutual TLS only.</Note> : <Note>{open.length} of {plan.servers.length} servers still take plain text. These steps lead to mutual TLS everywhere, in this order.</Note>}
            {plan.steps.map((step, i) => (
              <Card key={i} title={<span class="row wrap">{i + 1}. {step.title} {step.strict && <Pill kind="warn">refuses plain text</Pill>}</span>}>
                <pre class="yaml" tabIndex={0}>{step.documents.map((one) => stringify(one)).join('---\n')}</pre>
              </Card>
            ))}
            {plan.notes?.map((note) => <Note key={note} kind="warn">{note}</Note>)}
            {plan.clients.length > 0 && (
              <Card title="Rules by which sidecars send something else" flush>
                <Table label="Clients" rows={plan.clients} id={(one) => one.document + one.host} columns={[{ key: 'name', title: 'Document', cell: (one) => <bdi>{one.document}</bdi> }, { key: 'host', title: 'Host', cell: (one) => <bdi>{one.host}</bdi> }, { key: 'mode', title: 'Sends', cell: (one) => <Pill kind="warn">{one.mode}</Pill> }, { key: 'at', title: 'Written', wide: true, cell: (one) => <span class="faint">{one.at}</span> }]} />
              </Card>
            )}
          </>
        );
      }}
    </Loaded>
  );
}

function Access() {
  const entry = usePolled<AccessGraph>('/v1/access/graph', 20_000);
  return (
    <Card flush>
      <Loaded entry={entry}>
        {(graph) => (
          <Table
            label="Who may call whom"
            rows={graph.edges}
            id={(one) => `${one.from}>${one.to}:${one.port}`}
            sort="name"
            empty={<Empty icon="shield" title="Nobody may call anybody" />}
            columns={[
              { key: 'name', title: 'Caller', by: (one) => one.from, cell: (one) => <bdi>{one.from === '*' ? 'anybody, also without an identity' : one.from}</bdi> },
              { key: 'to', title: 'May call', by: (one) => one.to, cell: (one) => <span><bdi>{one.to}</bdi>:{one.port}</span> },
              { key: 'may', title: 'What', by: (one) => one.may, cell: (one) => <Pill kind={one.may === 'all' ? 'good' : 'info'}>{one.may === 'all' ? 'everything' : 'under conditions'}</Pill> },
              { key: 'by', title: 'By', wide: true, cell: (one) => (one.by && one.by.length > 0 ? <bdi class="muted">{one.by.join(', ')}</bdi> : <span class="faint">nothing forbids it</span>) },
            ]}
          />
        )}
      </Loaded>
    </Card>
  );
}

export function SecurityPage() {
  const tab = param('tab') || 'authority';
  return (
    <div class="page">
      <PageHead title="Security" sub="Identities, certificates, and who may call whom" />
      <Tabs on={tab} tabs={[{ key: 'authority', label: 'Authority' }, { key: 'certificates', label: 'Certificates' }, { key: 'mtls', label: 'Mutual TLS' }, { key: 'access', label: 'Access' }]} />
      {tab === 'authority' && <Authority />}
      {tab === 'certificates' && <Certificates />}
      {tab === 'mtls' && <Way />}
      {tab === 'access' && <Access />}
    </div>
  );
}
