/** The documents that have a say, as links to where they can be read and changed. */
import type { DocumentRef } from '../api/mesh';
import { Icon } from '../look/icon';
import { to } from '../shell/location';

export function documentPage(ref: { kind: string; namespace?: string; name: string }): string {
  return to('config', ref.kind, ref.namespace || '-', ref.name);
}

export function Documents({ documents }: { documents: DocumentRef[] }) {
  if (documents.length === 0) return <p class="faint">No document concerns it: the mesh's own settings are in force.</p>;
  return (
    <ul class="stack-s">
      {documents.map((one) => (
        <li key={`${one.kind}/${one.namespace}/${one.name}`} class="row">
          <Icon name="config" />
          <a class="grow clip" href={documentPage(one)}>
            <bdi>{one.name}</bdi>
          </a>
          <span class="faint clip">
            {one.kind} in <bdi>{one.namespace}</bdi>
          </span>
        </li>
      ))}
    </ul>
  );
}
