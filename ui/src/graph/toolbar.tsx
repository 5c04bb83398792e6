/** What can be set on the graph. All of it goes into the address. */
import { useEffect, useRef, useState } from 'preact/hooks';
import type { Mesh } from '../api/mesh';
import type { GraphType } from '../api/observe';
import { SearchField, Select } from '../look/control';
import { Icon } from '../look/icon';
import { RefreshPicker, WindowPicker } from '../shell/head';
import { setParams } from '../shell/location';
import type { EdgeLabel } from './decor';
import { fields } from './find';
import type { Grouping } from './model';

interface Props {
  mesh?: Mesh;
  type: GraphType;
  grouping: Grouping;
  label: EdgeLabel;
  find: string;
  hide: string;
  errors: { find?: string; hide?: string };
  found?: number;
  hidden: number;
  namespaces: string[];
  animate: boolean;
  locks: boolean;
  badges: boolean;
  /** Folded groups in which something was found, and how to open them. */
  inside: string[];
  show: (groups: string[]) => void;
  count?: { nodes: number; edges: number };
}

/** A button with a sheet under it; closes by Escape and by a click elsewhere. */
function Sheet({ label, children, on, wide }: { label: preact.ComponentChildren; children: preact.ComponentChildren; on?: boolean; wide?: boolean }) {
  const [open, setOpen] = useState(false);
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!open) return undefined;
    const away = (event: Event) => {
      if (!box.current?.contains(event.target as Node)) setOpen(false);
    };
    document.addEventListener('pointerdown', away);
    return () => document.removeEventListener('pointerdown', away);
  }, [open]);
  return (
    <div
      class="sheet"
      ref={box}
      onKeyDown={(event) => {
        if (event.key === 'Escape' && open) {
          event.stopPropagation();
          setOpen(false);
          box.current?.querySelector('button')?.focus();
        }
      }}
    >
      <button class="btn small" aria-expanded={open} aria-pressed={on} onClick={() => setOpen(!open)}>
        {label}
        <Icon name="down" size={12} />
      </button>
      {open && <div class={`sheet-body ${wide ? 'wide' : ''}`}>{children}</div>}
    </div>
  );
}

function Check({ label, on, param: name }: { label: string; on: boolean; param: string }) {
  return (
    <label class="check">
      <input type="checkbox" checked={on} onChange={(event) => setParams({ [name]: event.currentTarget.checked ? undefined : 0 })} />
      {label}
    </label>
  );
}

function Namespaces({ mesh, chosen }: { mesh?: Mesh; chosen: string[] }) {
  const [filter, setFilter] = useState('');
  const all = (mesh?.namespaces ?? []).filter((name) => name.includes(filter));
  const toggle = (name: string) => setParams({ ns: (chosen.includes(name) ? chosen.filter((one) => one !== name) : [...chosen, name]).join(',') });
  return (
    <Sheet on={chosen.length > 0} label={chosen.length === 0 ? 'All namespaces' : chosen.length === 1 ? <span class="clip" style="max-width:140px">{chosen[0]}</span> : `${chosen.length} namespaces`}>
      {(mesh?.namespaces.length ?? 0) > 8 && <SearchField value={filter} onInput={setFilter} placeholder="Filter" label="Filter namespaces" />}
      <button class="linklike" disabled={chosen.length === 0} onClick={() => setParams({ ns: undefined })}>
        All namespaces
      </button>
      <div class="sheet-list">
        {all.slice(0, 200).map((name) => (
          <label class="check" key={name}>
            <input type="checkbox" checked={chosen.includes(name)} onChange={() => toggle(name)} />
            <bdi class="clip">{name}</bdi>
          </label>
        ))}
      </div>
    </Sheet>
  );
}

export function Toolbar(props: Props) {
  const typing = useRef<number>();
  const put = (name: 'find' | 'hide') => (text: string) => {
    window.clearTimeout(typing.current);
    typing.current = window.setTimeout(() => setParams({ [name]: text }), 160);
  };
  const error = props.errors.find ?? props.errors.hide;
  return (
    <div class="graph-tools">
      <h1 class="sr">Graph</h1>
      <div class="graph-row">
        <Namespaces mesh={props.mesh} chosen={props.namespaces} />
        <Select
          small
          label="Nodes are"
          value={props.type}
          options={[
            { value: 'workload', label: 'Workloads' },
            { value: 'app', label: 'Apps' },
            { value: 'versionedApp', label: 'Versioned apps' },
            { value: 'service', label: 'Services' },
          ]}
          onChange={(type) => setParams({ type: type === 'workload' ? undefined : type, sel: undefined, open: undefined })}
        />
        <Select
          small
          label="Group by"
          value={props.grouping}
          options={[
            { value: 'namespace', label: 'By namespace' },
            { value: 'app', label: 'By app' },
            { value: 'version', label: 'By version' },
            { value: 'none', label: 'No groups' },
          ]}
          onChange={(group) => setParams({ group: group === 'namespace' ? undefined : group, open: undefined, sel: undefined })}
        />
        <Select
          small
          label="Labels of edges"
          value={props.label}
          options={[
            { value: 'none', label: 'No labels' },
            { value: 'rate', label: 'Requests/s' },
            { value: 'p50', label: 'p50' },
            { value: 'p95', label: 'p95' },
            { value: 'p99', label: 'p99' },
            { value: 'throughput', label: 'Throughput' },
            { value: 'success', label: 'Success rate' },
          ]}
          onChange={(label) => setParams({ label: label === 'none' ? undefined : label })}
        />
        <Sheet label="Display">
          <Check label="Traffic animation" on={props.animate} param="anim" />
          <Check label="Mutual TLS" on={props.locks} param="locks" />
          <Check label="Badges" on={props.badges} param="badges" />
          {props.grouping !== 'none' && (
            <>
              <hr />
              <button class="linklike" onClick={() => setParams({ fold: 1, open: undefined, sel: undefined })}>
                Fold all groups
              </button>
              <button class="linklike" onClick={() => setParams({ fold: undefined, open: 'all', sel: undefined })}>
                Open all groups
              </button>
            </>
          )}
        </Sheet>
        <span class="graph-time">
          <WindowPicker />
          <RefreshPicker />
        </span>
      </div>
      <div class="graph-row">
        <SearchField hot class="grow" icon="search" value={props.find} onInput={put('find')} label="Find" placeholder="Find: reviews, %httperr >= 5, rt > 500, !mtls" invalid={props.errors.find} list="find-words" />
        <SearchField class="grow" icon="hide" value={props.hide} onInput={put('hide')} label="Hide" placeholder="Hide: healthy, namespace = batch" invalid={props.errors.hide} list="find-words" />
        <Sheet wide label="Words">
          <p class="faint" style="max-width:44ch">
            A plain word looks for names. Compare by = != &gt; &gt;= &lt; &lt;=, texts by *= ^= $= too; join by AND, OR, NOT and parentheses.
          </p>
          <dl class="facts sheet-list">
            {fields.map((field) => [
              <dt key={field.names[0]}>
                <code>{field.names[0]}</code>
              </dt>,
              <dd key={`${field.names[0]} about`}>{field.about}</dd>,
            ])}
          </dl>
        </Sheet>
        <datalist id="find-words">
          {['healthy', '!healthy', 'failing', '!mtls', 'httpin > 1', '%httperr >= 5', 'rt > 500', 'protocol = grpc', 'cb', 'fault', 'name *= '].map((word) => (
            <option key={word} value={word} />
          ))}
        </datalist>
        <span class="graph-said" role="status">
          {error ? (
            <span class="bad-words">{error}</span>
          ) : props.found !== undefined ? (
            <>
              {props.found} found
              {props.inside.length > 0 && props.inside.length <= 12 && (
                <>
                  {' '}
                  <button class="linklike" onClick={() => props.show(props.inside)}>
                    Show in groups
                  </button>
                </>
              )}
            </>
          ) : props.hidden > 0 ? (
            `${props.hidden} hidden`
          ) : props.count ? (
            `${props.count.nodes} nodes, ${props.count.edges} edges`
          ) : (
            ''
          )}
        </span>
      </div>
    </div>
  );
}
