/** A stored document as the text that one edits. Pure. */
import { stringify } from 'yaml';

/** YAML in the usual order of fields, without what the store fills in. */
export function textOf(document: Record<string, unknown>): string {
  const { apiVersion, kind, metadata, status: _status, ...rest } = document as { apiVersion?: unknown; kind?: unknown; metadata?: Record<string, unknown>; status?: unknown };
  const own: Record<string, unknown> = { ...metadata };
  for (const filled of ['creationTimestamp', 'generation', 'resourceVersion', 'uid', 'managedFields']) delete own[filled];
  return stringify({ apiVersion, kind, metadata: own, ...rest }, { lineWidth: 0 });
}
