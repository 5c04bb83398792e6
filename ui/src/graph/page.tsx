/** The page of the graph: what is asked of the server, what is folded, found and hidden, and what is selected. */
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { Mesh } from '../api/mesh';
import type { Graph } from '../api/observe';
import { usePolled } from '../api/poll';
import { Empty, FailureState, Notices } from '../look/states';
import { go, keepParams, param, setParams, to, withParams } from '../shell/location';
import { painted } from '../shell/theme';
import { refreshS } from '../shell/window';
import { graphPath, graphType } from './asked';
import type { EdgeLabel } from './decor';
import './graph.css';
import { Legend } from './legend';
import { signsOf, type Grouping } from './model';
import { narrow } from './narrow';
import { SidePanel } from './panel';
import { Replay } from './replay';
import { Stage } from './stage';
import { Toolbar } from './toolbar';
import { Icon } from '../look/icon';

const groupings: Grouping[] = ['namespace', 'app', 'version', 'none'];
const labels: EdgeLabel[] = ['none', 'rate', 'p50', 'p95', 'p99', 'throughput', 'success'];

function one<T extends string>(text: string, of: T[], otherwise: T): T {
  return (of as string[]).includes(text) ? (text as T) : otherwise;
}

/** The page of what a node stands for. */
function pageOf(id: string): string | undefined {
  const match = /^(workload|service|app):([^/]+)\/(.+)$/s.exec(id);
  if (!match) return undefined;
  const [, kind, namespace = '', name = ''] = match;
  if (kind === 'workload') return to('workloads', namespace, name);
  return to('services', namespace, kind === 'app' ? name.replace(/@[^@]*$/, '') : name);
}

export function GraphPage() {
  const host = useRef<HTMLDivElement>(null);
  const stage = useRef<Stage>();
  const [painting, setPainting] = useState(true);
  const type = graphType();
  const grouping = one(param('group'), groupings, 'namespace');
  const label = one(param('label'), labels, 'none');
  const at = param('at');
  const namespaces = param('ns');
  const find = param('find');
  const hide = param('hide');
  const selected = param('sel') || undefined;
  const animate = param('anim') !== '0';
  const locks = param('locks') !== '0';
  const badges = param('badges') !== '0';
  const mesh = usePolled<Mesh>('/v1/mesh', Math.max(10, refreshS.value) * 1000);
  const entry = usePolled<Graph>(graphPath(), at ? 0 : Math.max(1, refreshS.value) * 1000);
  const graph = entry.data;
  const signs = useMemo(() => signsOf(mesh.data), [mesh.data]);
  const openText = param('open');
  const forced = param('fold') === '1';
  const open = useMemo(() => new Set(openText.split('|').filter(Boolean)), [openText]);
  const narrowed = useMemo(() => graph && narrow(graph, signs, { grouping, fold: forced, allOpen: openText === 'all', open, find, hide }), [graph, signs, grouping, forced, open, find, hide]);
  const view = narrowed?.view;
  const fold = narrowed?.folded ?? false;
  const viewRef = useRef(view);
  viewRef.current = view;

  const openGroup = (id: string) => setParams({ open: [...open, id].join('|'), sel: undefined }, false);
  const closeGroup = (id: string) => {
    if (fold) setParams({ open: [...open].filter((other) => other !== id).join('|'), sel: `group:${id}` }, false);
    else {
      // From all open to this one folded: the others are named.
      const others = (viewRef.current?.boxes ?? []).map((box) => box.id).filter((other) => other !== id);
      setParams({ fold: 1, open: others.join('|'), sel: `group:${id}` }, false);
    }
  };
  const activate = (id: string) => {
    if (id.startsWith('group:')) openGroup(id.slice(6));
    else if (viewRef.current?.boxes.some((box) => box.id === id)) closeGroup(id);
    else {
      const page = pageOf(id);
      if (page) go(page);
    }
  };
  const actions = useRef({ activate });
  actions.current = { activate };

  useEffect(() => {
    if (!host.current) return undefined;
    const made = new Stage(
      host.current,
      {
        select: (id) => setParams({ sel: id }),
        open: (id) => actions.current.activate(id),
        painted: () => {
          setPainting(false);
          if (performance.getEntriesByName('graph-painted').length === 0 && (viewRef.current?.nodes.length ?? 0) > 0) requestAnimationFrame(() => requestAnimationFrame(() => performance.mark('graph-painted')));
        },
      },
      { label, locks, badges, animate },
    );
    stage.current = made;
    // The tests look at what moves.
    Object.assign(host.current, { stage: made });
    return () => {
      made.destroy();
      stage.current = undefined;
    };
  }, []);
  useEffect(() => {
    if (view) void stage.current?.show(view);
  }, [view]);
  useEffect(() => stage.current?.find(narrowed?.marked), [narrowed]);
  useEffect(() => stage.current?.set({ label, locks, badges, animate: animate && !at }), [label, locks, badges, animate, at]);
  useEffect(() => stage.current?.select(selected), [selected, view]);
  useEffect(() => {
    if (selected && !painting && window.innerWidth <= 860) stage.current?.reveal(selected);
  }, [selected, painting]);
  useEffect(() => stage.current?.repaint(), [painted.value]);
  // With less room the view is fitted anew by the stage's own observer.

  const keys = (event: KeyboardEvent) => {
    const now = stage.current;
    if (!now || event.metaKey || event.ctrlKey || event.altKey) return;
    if (event.key === 'Escape') setParams({ sel: undefined });
    else if (event.key.startsWith('Arrow')) {
      const next = now.next(event.key as 'ArrowLeft');
      if (next) {
        setParams({ sel: next });
        now.reveal(next);
      }
    } else if (event.key === 'Enter' && selected) activate(selected);
    else if (event.key === '+' || event.key === '=') now.zoomBy(1.3);
    else if (event.key === '-') now.zoomBy(1 / 1.3);
    else if (event.key === '0') now.fit();
    else return;
    event.preventDefault();
  };
  const chosenNode = view?.nodes.find((node) => node.id === selected);
  const chosenEdge = view?.edges.find((edge) => edge.id === selected);
  const said = chosenNode ? `${chosenNode.name}, ${chosenNode.namespace}, ${chosenNode.health}. ${chosenNode.reasons.join('. ')}` : chosenEdge ? `Call, ${chosenEdge.health}` : '';
  return (
    <div class="graph-page">
      <Toolbar
        mesh={mesh.data}
        type={type}
        grouping={grouping}
        label={label}
        find={find}
        hide={hide}
        errors={narrowed?.errors ?? {}}
        found={narrowed?.found}
        inside={narrowed?.inside.filter((id) => !open.has(id)) ?? []}
        show={(groups) => setParams({ open: [...open, ...groups].join('|') }, false)}
        hidden={narrowed?.hidden ?? 0}
        namespaces={namespaces ? namespaces.split(',') : []}
        animate={animate}
        locks={locks}
        badges={badges}
        count={view?.whole}
      />
      <div class="graph-body">
        <div class="graph-stage">
          <div ref={host} class="graph-canvas" tabIndex={0} role="application" aria-label="Graph of the mesh. Arrow keys select, Enter opens, Escape clears" onKeyDown={keys} data-ready={painting ? undefined : 'yes'} />
          <p class="sr" aria-live="polite">
            {said}
          </p>
          {painting && !entry.failure && (!graph || graph.nodes.length > 0) && <GhostGraph />}
          {graph && graph.nodes.length === 0 && (
            <div class="graph-over">
              <Empty icon="graph" title={namespaces ? 'Nothing in these namespaces' : 'No traffic yet'} action={namespaces ? <a class="btn" href={withParams({ ns: undefined })}>Show all namespaces</a> : undefined}>
                {namespaces ? 'Neither traffic nor workloads were seen there in this window of time.' : 'Start a workload in the mesh and send it a request: halcyon demo does both. What passes appears here within seconds.'}
              </Empty>
            </div>
          )}
          {graph && graph.nodes.length > 0 && view?.nodes.length === 0 && (
            <div class="graph-over">
              <Empty icon="hide" title="All of it is hidden" action={<button class="btn" onClick={() => setParams({ hide: undefined })}>Show it again</button>}>
                The expression under Hide fits every node.
              </Empty>
            </div>
          )}
          {!graph && entry.failure && (
            <div class="graph-over">
              <FailureState failure={entry.failure} />
            </div>
          )}
          <div class="graph-notices">
            <Notices notices={graph?.notices} />
          </div>
          <div class="graph-zoom" role="group" aria-label="Zoom">
            <button class="btn icon small" aria-label="Zoom in" title="Zoom in (+)" onClick={() => stage.current?.zoomBy(1.3)}>
              <Icon name="plus" />
            </button>
            <button class="btn icon small" aria-label="Zoom out" title="Zoom out (−)" onClick={() => stage.current?.zoomBy(1 / 1.3)}>
              <Icon name="minus" />
            </button>
            <button class="btn icon small" aria-label="Fit" title="Fit (0)" onClick={() => stage.current?.fit()}>
              <Icon name="fit" />
            </button>
          </div>
          <Legend />
        </div>
        {/* The graph first: what is said of it comes a moment later. */}
        <SidePanel view={painting ? undefined : view} node={chosenNode} edge={chosenEdge} box={view?.boxes.find((box) => box.id === selected)} mesh={mesh.data} activate={activate} graph={painting ? undefined : graph} />
      </div>
      <Replay at={at} history={keepParams('/graph')} />
    </div>
  );
}

/** Where the graph will be, while it is not known yet. */
function GhostGraph() {
  const spots = [[8, 45], [30, 30], [30, 62], [54, 18], [54, 44], [54, 70], [78, 44]];
  return (
    <div class="ghost" role="status" aria-label="Loading the graph">
      {spots.map(([x, y], i) => (
        <span key={i} class="skeleton" style={{ left: `${x}%`, top: `${y}%` }} />
      ))}
    </div>
  );
}
