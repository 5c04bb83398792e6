/** Short words on what was just done; they leave by themselves and are read out. */
import { signal } from '@preact/signals';
import { Icon } from './icon';

interface Said {
  id: number;
  kind: 'good' | 'bad';
  text: string;
}

const said = signal<Said[]>([]);
let next = 1;

export function say(text: string, kind: 'good' | 'bad' = 'good'): void {
  const id = next++;
  said.value = [...said.value.slice(-3), { id, kind, text }];
  window.setTimeout(() => (said.value = said.value.filter((one) => one.id !== id)), kind === 'good' ? 5000 : 9000);
}

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {said.value.map((one) => (
        <div class={`toast ${one.kind}`} key={one.id}>
          <Icon name={one.kind === 'good' ? 'check' : 'error'} />
          <div class="grow">{one.text}</div>
        </div>
      ))}
    </div>
  );
}
