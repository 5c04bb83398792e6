/** What the graph asks of the server, by the address alone: so that it can be asked before the page's own code is here. */
import { query } from '../api/control';
import type { GraphType } from '../api/observe';
import { param } from '../shell/location';
import { windowS } from '../shell/window';

const types: GraphType[] = ['workload', 'app', 'versionedApp', 'service'];

export function graphType(): GraphType {
  const asked = param('type');
  return (types as string[]).includes(asked) ? (asked as GraphType) : 'workload';
}

export function graphPath(): string {
  return `/v1/graph${query({ window: windowS.value, type: graphType(), namespace: param('ns'), at: param('at') })}`;
}
