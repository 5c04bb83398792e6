/** The way through the house: pages, who one is, the theme. */
import { signal } from '@preact/signals';
import { useState } from 'preact/hooks';
import type { Problems, Status } from '../api/control';
import { usePolled } from '../api/poll';
import { Segmented } from '../look/control';
import { Icon, type IconName } from '../look/icon';
import { keepParams, path } from './location';
import { session, signOut } from './session';
import { setTheme, theme, type Theme } from './theme';

interface Item {
  to: string;
  label: string;
  icon: IconName;
  key: string;
}

export const groups: { label: string; items: Item[] }[] = [
  {
    label: 'Traffic',
    items: [
      { to: '/graph', label: 'Graph', icon: 'graph', key: 'g' },
      { to: '/services', label: 'Services', icon: 'service', key: 's' },
      { to: '/workloads', label: 'Workloads', icon: 'workload', key: 'w' },
      { to: '/gateways', label: 'Gateways', icon: 'gateway', key: 'a' },
      { to: '/traces', label: 'Traces', icon: 'trace', key: 't' },
      { to: '/tap', label: 'Tap', icon: 'tap', key: 'l' },
      { to: '/errors', label: 'Errors', icon: 'warning', key: 'e' },
    ],
  },
  {
    label: 'Mesh',
    items: [
      { to: '/config', label: 'Configuration', icon: 'config', key: 'c' },
      { to: '/proxies', label: 'Proxies', icon: 'proxy', key: 'p' },
      { to: '/security', label: 'Security', icon: 'shield', key: 'm' },
      { to: '/history', label: 'History', icon: 'history', key: 'h' },
    ],
  },
];

/** What is counted beside the pages can wait until the page is there. */
const settled = signal(false);
window.setTimeout(() => (settled.value = true), 1200);

function Counter({ to }: { to: string }) {
  const soon = settled.value;
  const problems = usePolled<Problems>(soon && to === '/config' ? '/v1/problems' : null, 15_000).data;
  const status = usePolled<Status>(soon && to === '/proxies' ? '/v1/status' : null, 15_000).data;
  if (problems && problems.problems.length > 0) {
    const errors = problems.problems.some((one) => one.level === 'error');
    return (
      <span class={`pill ${errors ? 'bad' : 'warn'}`} title="Problems that stand">
        {problems.problems.length}
      </span>
    );
  }
  const nacked = status?.proxies.filter((proxy) => proxy.types.some((type) => type.state === 'NACKED')).length ?? 0;
  if (nacked > 0) {
    return (
      <span class="pill bad" title="Proxies that refused what they were sent">
        {nacked}
      </span>
    );
  }
  return null;
}

const themes: { value: Theme; label: string }[] = [
  { value: 'auto', label: 'Auto' },
  { value: 'light', label: 'Light' },
  { value: 'dark', label: 'Dark' },
];

function Links({ close }: { close: () => void }) {
  const here = path.value;
  return (
    <>
      {groups.map((group) => (
        <div key={group.label} role="group" aria-label={group.label}>
          <div class="group" aria-hidden="true">
            {group.label}
          </div>
          {group.items.map((item) => (
            <a
              key={item.to}
              class="item"
              href={keepParams(item.to)}
              title={`g ${item.key}`}
              aria-current={here === item.to || here.startsWith(`${item.to}/`) ? 'page' : undefined}
              onClick={close}
            >
              <Icon name={item.icon} />
              {item.label}
              <Counter to={item.to} />
            </a>
          ))}
        </div>
      ))}
    </>
  );
}

export function Nav() {
  const [open, setOpen] = useState(false);
  const close = () => setOpen(false);
  const now = session.value;
  return (
    <>
      <header class="topbar">
        <button class="btn quiet icon" aria-label="Menu" aria-expanded={open} onClick={() => setOpen(true)}>
          <Icon name="menu" />
        </button>
        <a class="brand" href="/graph">
          <img src="/favicon.svg" alt="" width="22" height="22" />
          Halcyon
        </a>
      </header>
      <button class={`veil ${open ? 'open' : ''}`} aria-label="Close menu" tabIndex={open ? 0 : -1} onClick={close} />
      <nav class={`nav ${open ? 'open' : ''}`} aria-label="Pages">
        <a class="brand" href={keepParams('/graph')} onClick={close}>
          <img src="/favicon.svg" alt="" width="24" height="24" />
          Halcyon
        </a>
        <Links close={close} />
        <div class="foot">
          {now.state === 'in' && (
            <div class="who" title={`${now.who.who}, from ${now.who.from}`}>
              <Icon name="user" />
              <span class="grow who-words">
                <span class="clip">{now.who.who}</span>
                <span class="faint">{now.who.role}</span>
              </span>
              <button class="btn quiet icon small" aria-label="Sign out" title="Sign out" onClick={() => void signOut()}>
                <Icon name="out" />
              </button>
            </div>
          )}
          <div class="theme-row">
            <Segmented small label="Theme" value={theme.value} options={themes} onChange={setTheme} />
            <button class="btn quiet icon small" aria-label="Keyboard" title="Keyboard (?)" onClick={() => document.dispatchEvent(new CustomEvent('halcyon-help'))}>
              <Icon name="help" />
            </button>
          </div>
        </div>
      </nav>
    </>
  );
}
