/** The keyboard: `/` finds, `g` and a letter goes to a page, `?` tells all of it. */
import { signal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { Icon } from '../look/icon';
import { go, keepParams } from './location';
import { groups } from './nav';

const helpOpen = signal(false);
let pending = 0;

function writing(target: EventTarget | null): boolean {
  const element = target as HTMLElement | null;
  return !!element?.closest?.('input, textarea, select, [contenteditable="true"], dialog[open]');
}

document.addEventListener('keydown', (event) => {
  if (event.metaKey || event.ctrlKey || event.altKey || writing(event.target)) return;
  if (pending && Date.now() - pending < 1200) {
    pending = 0;
    const item = groups.flatMap((group) => group.items).find((one) => one.key === event.key);
    if (item) {
      event.preventDefault();
      go(keepParams(item.to));
      return;
    }
  }
  if (event.key === 'g') pending = Date.now();
  else if (event.key === '?') helpOpen.value = true;
  else if (event.key === '/') {
    const field = document.querySelector<HTMLInputElement>('[data-hot="find"]');
    if (field) {
      event.preventDefault();
      field.focus();
      field.select();
    }
  }
});

// The navigation asks for it so, since its pages are listed here.
document.addEventListener('halcyon-help', () => (helpOpen.value = true));

export function KeyHelp() {
  const box = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (helpOpen.value && !box.current?.open) box.current?.showModal();
  }, [helpOpen.value]);
  const close = () => box.current?.close();
  return (
    <dialog ref={box} aria-labelledby="keys-title" onClose={() => (helpOpen.value = false)} onClick={(event) => event.target === box.current && close()}>
      <div class="dialog-head">
        <h2 id="keys-title" class="grow">
          Keyboard
        </h2>
        <button class="btn quiet icon small" aria-label="Close" onClick={close}>
          <Icon name="close" />
        </button>
      </div>
      <div class="keys">
        <kbd>/</kbd> <span>Find</span>
        <kbd>Esc</kbd> <span>Clear the field, then the selection</span>
        <span>
          <kbd>←</kbd> <kbd>→</kbd> <kbd>↑</kbd> <kbd>↓</kbd>
        </span>
        <span>Graph: select the next node that way</span>
        <kbd>Enter</kbd> <span>Graph: open the selected node; expand a group</span>
        <span>
          <kbd>+</kbd> <kbd>−</kbd> <kbd>0</kbd>
        </span>
        <span>Graph: zoom in, out, fit</span>
        <kbd>?</kbd> <span>This list</span>
        {groups
          .flatMap((group) => group.items)
          .map((item) => [
            <span key={item.key}>
              <kbd>g</kbd> <kbd>{item.key}</kbd>
            </span>,
            <span key={item.to}>{item.label}</span>,
          ])}
      </div>
    </dialog>
  );
}
