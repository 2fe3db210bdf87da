import type { IncomingHttpHeaders } from 'node:http';

/**
 * Whether a browser says that the request comes from a page of ours: `same`, `other`, or `unknown` when it says
 * nothing (a program, or a browser older than both headers). The Host header plays no part.
 */
export function originOf(headers: IncomingHttpHeaders, publicUrl: string): 'same' | 'other' | 'unknown' {
  const site = headers['sec-fetch-site'];
  if (site !== undefined) return site === 'same-origin' ? 'same' : 'other';
  const { origin } = headers;
  if (origin !== undefined) return origin === new URL(publicUrl).origin ? 'same' : 'other';
  return 'unknown';
}
