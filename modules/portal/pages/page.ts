import type { IncomingHttpHeaders } from 'node:http';
import type { Call } from '../../../src/kernel/call.ts';
import type { Principal } from '../http/principal.ts';
import type { UploadForm } from '../http/upload-form.ts';
import type { Html } from './html.ts';

/** What a page is asked with. */
export interface PageRequest {
  readonly method: string;
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  /** The path with its query, as it was asked for. */
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly address: string;
  readonly callId: string;
  /** The form that came; at most 16 KiB. Faults as of a body. */
  form(): Promise<ReadonlyMap<string, string>>;
  /** The form that came, with a file in it. Faults as of `uploadForm`. */
  upload(): Promise<UploadForm>;
  /** Says who asks, for the log. */
  identify(principal: Principal): void;
  /** A call by whoever is given; by nobody in particular for null. */
  call(principal: Principal | null): Call;
}

export interface PageAnswer {
  readonly status?: number;
  readonly body: Html | string;
  /** Default text/html. */
  readonly type?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly cookies?: readonly string[];
}

export interface PageRoute {
  readonly method: 'GET' | 'POST';
  /** In the router's notation, e.g. `/outbox/:deliveryId`. */
  readonly path: string;
  /** Default 10,000. */
  readonly timeoutMs?: number;
  handle(request: PageRequest): Promise<PageAnswer>;
}

/** To another page of ours. What came with the request goes through `ownPath` first. */
export function goTo(location: `/${string}`, cookies: readonly string[] = []): PageAnswer {
  return { status: 303, body: '', headers: { Location: location }, cookies };
}

/** A path from outside, if it can only lead to a page of ours; `/` for what a browser might take for another place. */
export function ownPath(path: string | null | undefined): `/${string}` {
  // Browsers take `//` and `/\` for the start of a host, and drop control characters before they look.
  return path != null && path.length <= 2_000 && /^\/(?!\/)[!-[\]-~]*$/.test(path) ? (path as `/${string}`) : '/';
}
