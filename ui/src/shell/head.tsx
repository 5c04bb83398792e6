/** The head of a page: where one is, what it is, and the window of time. */
import type { ComponentChildren } from 'preact';
import { useEffect } from 'preact/hooks';
import { paused, refresh } from '../api/poll';
import { Segmented, Select } from '../look/control';
import { refreshS, refreshes, setRefresh, setWindow, windowS, windows } from './window';

export function PageHead(props: { title: ComponentChildren; crumb?: ComponentChildren; sub?: ComponentChildren; children?: ComponentChildren }) {
  return (
    <div class="page-head">
      <div class="titles">
        {props.crumb && <span class="crumb">{props.crumb}</span>}
        <h1 class="row wrap">{props.title}</h1>
        {props.sub && <p class="sub">{props.sub}</p>}
      </div>
      <div class="tools" style="flex:0 1 auto;width:auto">
        {props.children}
      </div>
    </div>
  );
}

export function WindowPicker() {
  const options = windows.map(({ seconds, label }) => ({ value: seconds, label, title: `The last ${label}` }));
  if (!options.some((option) => option.value === windowS.value)) options.push({ value: windowS.value, label: `${windowS.value}s`, title: '' });
  return <Segmented small label="Window of time" value={windowS.value} options={options} onChange={setWindow} />;
}

export function RefreshPicker() {
  const options = refreshes.map(({ seconds, label }) => ({ value: seconds, label }));
  if (!options.some((option) => option.value === refreshS.value)) options.push({ value: refreshS.value, label: `${refreshS.value} s` });
  useEffect(() => {
    const stop = refreshS.value === 0;
    if (paused.peek() && !stop) {
      paused.value = false;
      refresh();
    } else paused.value = stop;
  }, [refreshS.value]);
  return <Select small label="Refresh" value={refreshS.value} options={options} onChange={setRefresh} />;
}
