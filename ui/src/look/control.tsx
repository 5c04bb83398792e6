/** Small controls with one way of looking: search field, segments, selection, copy, pills of health and protocol. */
import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import type { Health } from '../api/observe';
import { Icon, type IconName } from './icon';
import { say } from './toast';

export function SearchField(props: {
  value: string;
  onInput: (text: string) => void;
  placeholder: string;
  label: string;
  icon?: IconName;
  invalid?: string;
  hot?: boolean;
  class?: string;
  list?: string;
}) {
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    // While one writes, what is in the field is the truth.
    if (field.current && document.activeElement !== field.current && field.current.value !== props.value) field.current.value = props.value;
  }, [props.value]);
  return (
    <div class={`search ${props.class ?? ''}`}>
      <Icon name={props.icon ?? 'search'} />
      <input
        ref={field}
        class="field small"
        type="search"
        spellcheck={false}
        autocomplete="off"
        aria-label={props.label}
        aria-invalid={props.invalid ? 'true' : undefined}
        title={props.invalid}
        placeholder={props.placeholder}
        defaultValue={props.value}
        list={props.list}
        data-hot={props.hot ? 'find' : undefined}
        onInput={(event) => props.onInput(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === 'Escape') {
            event.stopPropagation();
            if (event.currentTarget.value) {
              event.currentTarget.value = '';
              props.onInput('');
            } else event.currentTarget.blur();
          }
        }}
      />
      {props.hot && !props.value && <kbd>/</kbd>}
    </div>
  );
}

export function Segmented<T extends string | number>(props: { value: T; options: { value: T; label: string; title?: string }[]; onChange: (value: T) => void; label: string; small?: boolean }) {
  return (
    <div class={`segmented ${props.small ? 'small' : ''}`} role="group" aria-label={props.label}>
      {props.options.map((option) => (
        <button key={String(option.value)} type="button" aria-pressed={option.value === props.value} title={option.title} onClick={() => props.onChange(option.value)}>
          {option.label}
        </button>
      ))}
    </div>
  );
}

export function Select<T extends string | number>(props: { value: T; options: { value: T; label: string }[]; onChange: (value: T) => void; label: string; small?: boolean; class?: string }) {
  return (
    <select
      class={`field ${props.small ? 'small' : ''} ${props.class ?? ''}`}
      aria-label={props.label}
      value={String(props.value)}
      onChange={(event) => {
        const found = props.options.find((option) => String(option.value) === event.currentTarget.value);
        if (found) props.onChange(found.value);
      }}
    >
      {props.options.map((option) => (
        <option key={String(option.value)} value={String(option.value)}>
          {option.label}
        </option>
      ))}
    </select>
  );
}

const healthWords: Record<Health, string> = { healthy: 'Healthy', degraded: 'Degraded', failing: 'Failing', idle: 'Idle' };
const healthKinds: Record<Health, string> = { healthy: 'good', degraded: 'warn', failing: 'bad', idle: '' };

export function HealthDot({ health }: { health: Health }) {
  return <span class={`dot ${health}`} role="img" aria-label={healthWords[health]} title={healthWords[health]} />;
}

export function HealthPill({ health }: { health: Health }) {
  return (
    <span class={`pill ${healthKinds[health]}`}>
      <span class={`dot ${health}`} aria-hidden="true" />
      {healthWords[health]}
    </span>
  );
}

export function Pill({ kind = '', children, title }: { kind?: string; children: ComponentChildren; title?: string }) {
  return (
    <span class={`pill ${kind}`} title={title}>
      {children}
    </span>
  );
}

export function Copy({ text, label }: { text: string; label: string }) {
  return (
    <button
      class="btn quiet icon small"
      type="button"
      aria-label={`Copy ${label}`}
      title={`Copy ${label}`}
      onClick={() => {
        void navigator.clipboard?.writeText(text).then(
          () => say(`Copied ${label}`),
          () => say('The browser does not let the page copy', 'bad'),
        );
      }}
    >
      <Icon name="copy" />
    </button>
  );
}

export function Card({ title, aside, children, flush, id }: { title?: ComponentChildren; aside?: ComponentChildren; children: ComponentChildren; flush?: boolean; id?: string }) {
  return (
    <section class="card" id={id}>
      {title !== undefined && (
        <header>
          <h2 class="grow">{title}</h2>
          {aside}
        </header>
      )}
      <div class={flush ? '' : 'body'}>{children}</div>
    </section>
  );
}
