/** The audit log: who did or tried what, with what was different. */
import { useState } from 'preact/hooks';
import type { AuditPage } from '../api/control';
import { query } from '../api/control';
import { usePolled } from '../api/poll';
import { Diff } from '../editor/diff';
import { Card, Pill, SearchField } from '../look/control';
import { Icon } from '../look/icon';
import { Empty, Loaded } from '../look/states';
import { PageHead } from '../shell/head';
import { param, setParams } from '../shell/location';
import { ago, dateTime } from '../words/format';
import './refusals.css';

const kinds: Record<string, string> = { created: 'good', configured: 'info', deleted: 'warn', refused: 'bad' };

function Entry({ entry }: { entry: AuditPage['entries'][number] }) {
  const [open, setOpen] = useState(false);
  return (
    <li class="refusal">
      <button class="refusal-head" aria-expanded={open} onClick={() => setOpen(!open)}>
        <span class={`turn ${open ? 'open' : ''}`}>
          <Icon name="chevron" size={12} />
        </span>
        <time class="faint" title={dateTime(entry.time)} style="width:72px;flex:none">
          {ago(entry.time)}
        </time>
        <Pill kind={kinds[entry.outcome] ?? ''}>{entry.outcome}</Pill>
        <span class="grow what">
          <bdi>{entry.what}</bdi>
          <span class="faint clip">
            {entry.action} by <bdi>{entry.who}</bdi> from <bdi>{entry.from}</bdi>
          </span>
        </span>
        <span class="faint who">version {entry.version}</span>
      </button>
      {open && (
        <div class="refusal-body">
          {entry.reason && <p>{entry.reason}</p>}
          {entry.diff && entry.diff.length > 0 ? <Diff lines={entry.diff} /> : <p class="faint">Nothing was different.</p>}
        </div>
      )}
    </li>
  );
}

export function HistoryPage() {
  const q = param('q');
  const who = param('who');
  const entry = usePolled<AuditPage>(`/v1/audit${query({ what: q, who, limit: 300 })}`, 15_000);
  return (
    <div class="page">
      <PageHead title="History" sub="Every change, and every attempt that was refused">
        <SearchField hot value={q} onInput={(text) => setParams({ q: text })} placeholder="Action, kind, name" label="What was done" />
        <SearchField icon="user" value={who} onInput={(text) => setParams({ who: text })} placeholder="Who" label="By whom" />
      </PageHead>
      <Card flush>
        <Loaded entry={entry}>
          {(page) =>
            page.entries.length === 0 ? (
              <Empty icon="history" title={q || who ? 'No entry fits' : 'Nothing was changed yet'} />
            ) : (
              <>
                <ul>
                  {[...page.entries].reverse().map((one) => (
                    <Entry key={`${one.seq}${one.time}`} entry={one} />
                  ))}
                </ul>
                {page.more && <p class="more faint">There are older ones: narrow the search to see them.</p>}
              </>
            )
          }
        </Loaded>
      </Card>
    </div>
  );
}
