/** The frame around every page, and the choice of the page by the path. */
import type { ComponentType } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { link } from '../api/poll';
import { Icon } from '../look/icon';
import { Empty, FailureState, SkeletonRows } from '../look/states';
import { Toasts } from '../look/toast';
import { KeyHelp } from './keys';
import { go, parts } from './location';
import { Nav } from './nav';
import { session } from './session';
import { SignIn } from './signin';
import { clock, span } from '../words/format';

type Page = ComponentType<{ parts: string[] }>;

/** First part of the path -> the module that shows it. */
const pages: Record<string, () => Promise<Page>> = {
  graph: () => import('../graph/page').then((module) => module.GraphPage),
  services: () => import('../pages/services').then((module) => module.ServicesPage),
  workloads: () => import('../pages/workloads').then((module) => module.WorkloadsPage),
  gateways: () => import('../pages/gateways').then((module) => module.GatewaysPage),
  traces: () => import('../pages/traces').then((module) => module.TracesPage),
  tap: () => import('../pages/tap').then((module) => module.TapPage),
  errors: () => import('../pages/errors').then((module) => module.ErrorsPage),
  config: () => import('../pages/config').then((module) => module.ConfigPage),
  proxies: () => import('../pages/proxies').then((module) => module.ProxiesPage),
  security: () => import('../pages/security').then((module) => module.SecurityPage),
  history: () => import('../pages/history').then((module) => module.HistoryPage),
};
const loaded = new Map<string, Page>();

export function preload(name: string): void {
  void pages[name]?.().then((page) => loaded.set(name, page));
}

function Banner() {
  const [, tick] = useState(0);
  const now = link.value;
  useEffect(() => {
    if (now.ok) return undefined;
    const timer = window.setInterval(() => tick((n) => n + 1), 1000);
    return () => window.clearInterval(timer);
  }, [now.ok]);
  if (now.ok) return null;
  const wait = Math.max(0, (now.retryAt ?? 0) - Date.now());
  return (
    <div class="linkdown" role="alert">
      <Icon name="plug" />
      <span>
        <strong>The control plane does not answer.</strong> {now.lastGood ? `What you see is from ${clock(now.lastGood)}.` : ''} Traffic goes on without it.
      </span>
      <span class="faint" style="margin-left:auto" aria-hidden="true">
        {wait > 500 ? `Trying again in ${span(wait)}` : 'Trying again…'}
      </span>
    </div>
  );
}

function Body() {
  const all = parts.value;
  const name = all[0] ?? '';
  const known = session.value.state === 'in';
  const [, again] = useState(0);
  const [broken, setBroken] = useState(false);
  useEffect(() => {
    if (name === '') {
      // Whoever turns out to be a stranger is told why by the address that brought them.
      if (known) go('/graph', true);
      return;
    }
    document.title = name ? `${all.slice(1).reverse().concat(name[0]!.toUpperCase() + name.slice(1)).filter(Boolean).join(' · ')} · Halcyon` : 'Halcyon';
    const load = pages[name];
    setBroken(false);
    if (!load || loaded.has(name)) return;
    load().then(
      (page) => {
        loaded.set(name, page);
        again((n) => n + 1);
      },
      () => setBroken(true),
    );
  }, [all.join('/'), known]);
  if (name === '') return null;
  if (!pages[name]) {
    return (
      <Empty icon="search" title="There is no such page" action={<a class="btn" href="/graph">To the graph</a>}>
        The address may come from another version of the dashboard.
      </Empty>
    );
  }
  if (broken) {
    return <FailureState failure={{ error: 'A part of the dashboard could not be loaded', hint: 'It may have been replaced by a newer one.' }} again={() => window.location.reload()} />;
  }
  const Page = loaded.get(name);
  return Page ? <Page parts={all.slice(1)} /> : <SkeletonRows rows={10} />;
}

export function Frame() {
  const now = session.value;
  if (now.state === 'out') return <SignIn />;
  if (now.state === 'unreachable') {
    return (
      <main class="signin">
        <FailureState failure={now.failure} />
      </main>
    );
  }
  return (
    <div class="frame">
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), document.querySelector<HTMLElement>('main')?.focus())}>
        Skip to the page
      </a>
      <Nav />
      <div class="content">
        <Banner />
        <main id="main" tabIndex={-1}>
          <Body />
        </main>
      </div>
      <KeyHelp />
      <Toasts />
    </div>
  );
}
