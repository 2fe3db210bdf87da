import type { IncomingMessage } from 'node:http';
import { Fault } from '../../../src/kernel/fault.ts';
import { MAX_BATCH_CALLS } from './limits.ts';

export type Route =
  | { readonly kind: 'offers' }
  | { readonly kind: 'introduction' }
  | { readonly kind: 'batch' }
  | { readonly kind: 'cancel'; readonly batch: string; readonly calls: readonly number[] }
  | { readonly kind: 'call'; readonly contract: string; readonly method: string };

export const OFFERS_PATH = '/contract';
export const INTRODUCTION_PATH = '/contract/introduction';
export const BATCH_PATH = '/contract';
const BATCHES = 'batches';

export function callPath(contract: string, method: string): string {
  return `/contract/${encodeURIComponent(contract)}/${encodeURIComponent(method)}`;
}

export function cancelPath(batch: string, calls: readonly number[]): string {
  return `/contract/${BATCHES}/${encodeURIComponent(batch)}?calls=${calls.join(',')}`;
}

export function isContractPath(url: string): boolean {
  return url === OFFERS_PATH || url.startsWith(`${OFFERS_PATH}/`) || url.startsWith(`${OFFERS_PATH}?`);
}

/** @throws Fault `not_found`, `invalid` with reason `method_not_allowed`, or `content_type_not_supported`. */
export function routeOf({ url, method, headers }: IncomingMessage): Route {
  const [path, query] = splitOnce(url!, '?');
  const [empty, root, first, second, ...more] = path.split('/');
  if (empty !== '' || root !== 'contract' || more.length > 0) throw nothingThere();
  if (first === undefined) {
    if (isRead(method)) return { kind: 'offers' };
    if (method !== 'POST') throw notAllowed('GET, POST');
    requireJson(headers['content-type']);
    return { kind: 'batch' };
  }
  if (second === undefined) {
    if (path !== INTRODUCTION_PATH) throw nothingThere();
    if (!isRead(method)) throw notAllowed('GET');
    return { kind: 'introduction' };
  }
  if (method === 'DELETE' && first === BATCHES) return { kind: 'cancel', batch: decoded(second), calls: callsOf(query) };
  if (method !== 'POST') throw notAllowed('POST');
  requireJson(headers['content-type']);
  return { kind: 'call', contract: decoded(first), method: decoded(second) };
}

function isRead(method: string | undefined): boolean {
  return method === 'GET' || method === 'HEAD';
}

function splitOnce(text: string, by: string): [string, string] {
  const at = text.indexOf(by);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}

function decoded(part: string): string {
  if (!part.includes('%')) return part;
  try {
    return decodeURIComponent(part);
  } catch {
    throw nothingThere();
  }
}

function callsOf(query: string): number[] {
  const calls = new URLSearchParams(query).get('calls')?.split(',', MAX_BATCH_CALLS) ?? [];
  return calls.map(Number);
}

/** A page in a browser can send other types to any address that the browser reaches; for this one it needs leave. */
function requireJson(type: string | undefined): void {
  if (type !== undefined && /^application\/json\s*(;|$)/i.test(type)) return;
  throw new Fault('invalid', 'Send JSON, with the header Content-Type: application/json.', { reason: 'content_type_not_supported', origin: 'unsent' });
}

function nothingThere(): Fault {
  return new Fault('not_found', 'There is nothing at this address. GET /contract lists what this host serves; calls go to POST /contract/<module>/<method>.', { reason: 'no_such_address', origin: 'unsent' });
}

function notAllowed(allow: string): Fault {
  return new Fault('invalid', `This address takes ${allow} only.`, { reason: 'method_not_allowed', details: { allow }, origin: 'unsent' });
}
