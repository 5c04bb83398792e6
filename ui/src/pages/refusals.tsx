/** Requests that were refused or failed, each with its reason in words. */
import { useState } from 'preact/hooks';
import type { Refusal, RefusalPage } from '../api/control';
import { query } from '../api/control';
import { usePolled } from '../api/poll';
import { Pill } from '../look/control';
import { Icon } from '../look/icon';
import { Empty, Loaded } from '../look/states';
import { keepParams } from '../shell/location';
import { refreshS } from '../shell/window';
import { ago, clock } from '../words/format';
import './refusals.css';

function One({ refusal }: { refusal: Refusal }) {
  const [open, setOpen] = useState(false);
  const bad = refusal.status === 0 || refusal.status >= 500;
  return (
    <li class="refusal">
      <button class="refusal-head" aria-expanded={open} onClick={() => setOpen(!open)}>
        <span class={`turn ${open ? 'open' : ''}`}>
          <Icon name="chevron" size={12} />
        </span>
        <time class="faint" dateTime={refusal.time} title={refusal.time}>
          {clock(refusal.time)}
        </time>
        <Pill kind={bad ? 'bad' : 'warn'}>{refusal.status === 0 ? 'none' : refusal.status}</Pill>
        <span class="grow what">
          <span>{refusal.reason ?? refusal.why}</span>
          <span class="faint clip">
            {refusal.method} <bdi>{refusal.host || refusal.destination}</bdi>
            <bdi>{refusal.path}</bdi>
          </span>
        </span>
        <span class="faint clip who">
          at <bdi>{refusal.workload}</bdi>
        </span>
      </button>
      {open && (
        <div class="refusal-body">
          <dl class="facts">
            <dt>What it means</dt>
            <dd>{refusal.why}</dd>
            {refusal.hints && refusal.hints.length > 0 && (
              <>
                <dt>What to do</dt>
                <dd>
                  {refusal.hints.map((hint) => (
                    <p key={hint}>{hint}</p>
                  ))}
                </dd>
              </>
            )}
            <dt>From</dt>
            <dd>
              <code>{refusal.from}</code>
            </dd>
            {refusal.flags && refusal.flags.length > 0 && (
              <>
                <dt>Flags</dt>
                <dd>
                  <code>{refusal.flags.join(', ')}</code> <span class="faint">{refusal.details}</span>
                </dd>
              </>
            )}
            {refusal.endpoint && (
              <>
                <dt>Endpoint</dt>
                <dd>
                  <code>{refusal.endpoint}</code>
                </dd>
              </>
            )}
            {refusal.attempts > 0 && (
              <>
                <dt>Attempts</dt>
                <dd>{refusal.attempts}</dd>
              </>
            )}
            {refusal.by && (
              <>
                <dt>Refused by</dt>
                <dd>
                  rule {refusal.by.rule} of AuthorizationPolicy <bdi>{refusal.by.policy}</bdi> <span class="faint">{refusal.by.at}</span>
                </dd>
              </>
            )}
            {refusal.nearest && (
              <>
                <dt>Nearest rule</dt>
                <dd>
                  rule {refusal.nearest.rule} of <bdi>{refusal.nearest.policy}</bdi> <span class="faint">{refusal.nearest.at}</span>
                  {refusal.nearest.failed.map((field) => (
                    <p key={field.field}>
                      <code>{field.field}</code>: {field.reason}
                    </p>
                  ))}
                </dd>
              </>
            )}
            {refusal.documents?.map((one) => {
              const [kind = '', namespace = '', ...name] = one.document.split('/');
              return [
                <dt key={`${one.document}t`}>Decided by</dt>,
                <dd key={one.document}>
                  <a href={keepParams(`/config/${[kind, namespace, name.join('/')].map(encodeURIComponent).join('/')}`)}>{one.document}</a> {one.field && <code>{one.field}</code>} <span class="faint">{one.at}</span>
                </dd>,
              ];
            })}
            {refusal.requestId && (
              <>
                <dt>Request</dt>
                <dd>
                  <code>{refusal.requestId}</code>
                </dd>
              </>
            )}
          </dl>
        </div>
      )}
    </li>
  );
}

export function Refusals({ namespace, workload, service, from, limit = 20, filter }: { namespace?: string; workload?: string; service?: string; from?: string; limit?: number; filter?: (one: Refusal) => boolean }) {
  const entry = usePolled<RefusalPage>(`/v1/refusals${query({ namespace, workload, service, from, limit })}`, Math.max(3, refreshS.value) * 1000);
  return (
    <Loaded entry={entry} rows={4}>
      {(page) => {
        const list = [...page.refusals].reverse().filter(filter ?? (() => true));
        if (list.length === 0) {
          return (
            <Empty icon="check" title="No errors">
              {page.most === 0 ? 'Refusals are not kept: the control plane was started so.' : `None of ${page.kept} that are kept fits${page.oldest ? `, since ${ago(page.oldest)}` : ''}.`}
            </Empty>
          );
        }
        return (
          <ul class="refusals">
            {list.map((one) => (
              <One key={one.seq} refusal={one} />
            ))}
          </ul>
        );
      }}
    </Loaded>
  );
}
