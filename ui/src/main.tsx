/** Where the dashboard begins. */
import { render } from 'preact';
import './look/tokens.css';
import './look/base.css';
import './look/parts.css';
import './shell/shell.css';
import { Frame, preload } from './shell/frame';
import { prefetch } from './api/poll';
import { graphPath } from './graph/asked';
import { start } from './graph/layouter';
import { ask } from './shell/session';
import { parts } from './shell/location';

const first = parts.value[0] ?? 'graph';
preload(first);
if (first === 'graph') {
  prefetch(graphPath());
  start();
}
if (first === 'graph' || first === 'services' || first === 'workloads') prefetch('/v1/mesh');
void ask();
render(<Frame />, document.getElementById('app')!);
