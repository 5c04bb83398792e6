/** The wizards' frame: the form at the left, at the right what it would write, what `apply` says of it, and whom it concerns. */
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { stringify } from 'yaml';
import { asFailure, type Failure } from '../api/call';
import { apply, type ResourceView, type Resources } from '../api/control';
import type { MeshService } from '../api/mesh';
import { refresh, usePolled } from '../api/poll';
import { Diff } from '../editor/diff';
import { textOf } from '../editor/document';
import { lineDiff } from '../editor/lines';
import { useVerdict } from '../editor/validate';
import { Segmented } from '../look/control';
import { Icon, type IconName } from '../look/icon';
import { FailureNote, ProblemList, Skeleton } from '../look/states';
import { say } from '../look/toast';
import { param, setParams } from '../shell/location';
import { whyNotWrite } from '../shell/session';
import { count } from '../words/format';
import { BreakerForm, FaultForm, PatienceForm, RouteForm, ShiftForm, type FormProps } from './forms';
import './wizards.css';
import type { Doc, Target } from './yaml';

interface Wizard {
  key: string;
  title: string;
  icon: IconName;
  form: (props: FormProps) => preact.JSX.Element;
}

const wizards: Wizard[] = [
  { key: 'shift', title: 'Shift traffic', icon: 'split', form: ShiftForm },
  { key: 'route', title: 'Route by header', icon: 'route', form: RouteForm },
  { key: 'fault', title: 'Inject a fault', icon: 'fault', form: FaultForm },
  { key: 'timeout', title: 'Timeouts and retries', icon: 'clock', form: PatienceForm },
  { key: 'circuit', title: 'Break a circuit', icon: 'breaker', form: BreakerForm },
];

export function WizardMenu({ namespace }: { namespace: string }) {
  const [open, setOpen] = useState(false);
  const box = useRef<HTMLDivElement>(null);
  const why = whyNotWrite(namespace);
  useEffect(() => {
    if (!open) return undefined;
    const away = (event: Event) => {
      if (!box.current?.contains(event.target as Node)) setOpen(false);
    };
    document.addEventListener('pointerdown', away);
    return () => document.removeEventListener('pointerdown', away);
  }, [open]);
  return (
    <div class="sheet" ref={box} onKeyDown={(event) => event.key === 'Escape' && setOpen(false)}>
      <button class="btn small primary" disabled={!!why} title={why} aria-expanded={open} onClick={() => setOpen(!open)}>
        <Icon name="wand" /> Change traffic <Icon name="down" size={12} />
      </button>
      {open && (
        <div class="sheet-body wizard-menu">
          {wizards.map((wizard) => (
            <button key={wizard.key} class="btn quiet" onClick={() => (setOpen(false), setParams({ wizard: wizard.key }, false))}>
              <Icon name={wizard.icon} /> {wizard.title}
            </button>
          ))}
        </div>
      )}
    </div>
  );
}

function present(resources: ResourceView[], doc: Doc): string {
  const found = resources.find((one) => one.key.kind === doc.kind && one.key.name === doc.metadata.name && one.key.namespace === doc.metadata.namespace);
  return found ? textOf(found.document) : '';
}

function clean(view: ResourceView): Doc {
  const doc = JSON.parse(JSON.stringify(view.document)) as Doc;
  for (const filled of ['creationTimestamp', 'generation', 'resourceVersion', 'uid', 'managedFields']) delete doc.metadata[filled];
  doc.metadata.namespace ??= view.key.namespace ?? '';
  delete doc.status;
  return doc;
}

function Open({ wizard, service, resources, close }: { wizard: Wizard; service: MeshService; resources: ResourceView[]; close: () => void }) {
  const [docs, setDocs] = useState<Doc[]>();
  const [show, setShow] = useState<'diff' | 'yaml'>('diff');
  const [failure, setFailure] = useState<Failure>();
  const [busy, setBusy] = useState(false);
  const documents = useMemo(() => resources.filter((one) => one.key.kind === 'VirtualService' || one.key.kind === 'DestinationRule').map(clean), []);
  const target = useMemo<Target>(() => ({ namespace: service.namespace, name: service.name, host: service.host, subsets: service.subsets, versions: [...new Set(service.endpoints.map((one) => one.version).filter((one): one is string => !!one))].sort() }), []);
  const text = docs ? docs.map((doc) => stringify(doc, { lineWidth: 0 })).join('---\n') : '';
  const verdict = useVerdict(text, service.namespace, !!docs, true);
  const why = whyNotWrite(service.namespace);
  const files = docs?.map((doc) => resources.find((one) => one.key.kind === doc.kind && one.key.name === doc.metadata.name && one.key.namespace === doc.metadata.namespace)).find((one) => one?.source === 'files');
  const stop = why ?? (files ? `${files.key.kind} ${files.key.name} stands in the watched directory, in ${files.origin.file}: change it there` : undefined);
  const differs = !!docs && docs.some((doc) => lineDiff(present(resources, doc), textOf(doc)).length > 0);
  const touched = verdict.plan?.groups.reduce((sum, group) => sum + group.proxies.length, 0);
  const write = async () => {
    setBusy(true);
    setFailure(undefined);
    try {
      const done = await apply(text, service.namespace);
      say(`${done.results.map((one) => `${one.key.kind} ${one.key.name} is ${one.outcome}`).join(', ')}; version ${done.version}`);
      refresh('/v1/');
      close();
    } catch (error) {
      setFailure(asFailure(error));
    }
    setBusy(false);
  };
  const Form = wizard.form;
  return (
    <div class="wizard">
      <div class="wizard-form">
        <Form documents={documents} target={target} write={setDocs} />
      </div>
      <div class="wizard-shows">
        <div class="row">
          <h3 class="grow">What is written</h3>
          <Segmented small label="Show" value={show} options={[{ value: 'diff', label: 'Changes' }, { value: 'yaml', label: 'YAML' }]} onChange={setShow} />
        </div>
        <div class="wizard-yaml">
          {!docs ? (
            <p class="faint">Something is missing in the form.</p>
          ) : show === 'yaml' ? (
            <pre class="yaml" tabIndex={0} aria-label="YAML">
              {text}
            </pre>
          ) : !differs ? (
            <p class="faint">It is so already: nothing would change.</p>
          ) : (
            docs.map((doc) => (
              <div key={doc.kind} class="stack-s">
                <span class="faint">
                  {doc.kind} <bdi>{doc.metadata.namespace}/{doc.metadata.name}</bdi>
                  {present(resources, doc) === '' && ' (new)'}
                </span>
                <Diff lines={lineDiff(present(resources, doc), textOf(doc))} />
              </div>
            ))
          )}
        </div>
        {verdict.problems.length > 0 && <ProblemList problems={verdict.problems} />}
        {verdict.failure && verdict.state !== 'refused' && <FailureNote failure={verdict.failure} />}
        {failure && <FailureNote failure={failure} />}
      </div>
      <div class="wizard-foot">
        <span class="grow faint" role="status">
          {stop ?? (verdict.state === 'asking' ? 'Checking…' : verdict.state === 'refused' ? 'It would be refused' : verdict.state === 'good' ? (touched === undefined ? 'Valid' : `Valid; concerns ${touched} of ${count(verdict.plan!.connected, 'proxy', 'proxies')}`) : '')}
        </span>
        <button class="btn" onClick={close}>
          Cancel
        </button>
        <button class="btn primary" disabled={!!stop || busy || !docs || !differs || verdict.state !== 'good'} title={stop} onClick={() => void write()}>
          {busy ? 'Applying…' : 'Apply'}
        </button>
      </div>
    </div>
  );
}

/** Shown where the address asks for it: `?wizard=shift`. */
export function Wizards({ service }: { service: MeshService }) {
  const wizard = wizards.find((one) => one.key === param('wizard'));
  const box = useRef<HTMLDialogElement>(null);
  const entry = usePolled<Resources>(wizard ? '/v1/resources?all_namespaces=true' : null, 0);
  useEffect(() => {
    if (wizard && !box.current?.open) box.current?.showModal();
    if (!wizard && box.current?.open) box.current.close();
  }, [wizard]);
  const close = () => setParams({ wizard: undefined });
  return (
    <dialog ref={box} class="wizard-dialog" aria-labelledby="wizard-title" onClose={close}>
      {wizard && (
        <>
          <div class="dialog-head">
            <Icon name={wizard.icon} />
            <h2 id="wizard-title" class="grow">
              {wizard.title} of <bdi>{service.name}</bdi>
            </h2>
            <button class="btn quiet icon small" aria-label="Close" onClick={close}>
              <Icon name="close" />
            </button>
          </div>
          {entry.data ? (
            <Open key={wizard.key} wizard={wizard} service={service} resources={entry.data.resources} close={close} />
          ) : entry.failure ? (
            <FailureNote failure={entry.failure} />
          ) : (
            <div style="padding:24px">
              <Skeleton height={320} />
            </div>
          )}
        </>
      )}
    </dialog>
  );
}
