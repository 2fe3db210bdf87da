import type { IncomingHttpHeaders } from 'node:http';
import type { Call } from '../../../src/kernel/call.ts';
import type { Principal } from '../http/principal.ts';
import type { Html } from './html.ts';

/** What a page is asked with. */
export interface PageRequest {
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  readonly address: string;
  readonly callId: string;
  /** The form that came; at most 16 KiB. Faults as of a body. */
  form(): Promise<ReadonlyMap<string, string>>;
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
  handle(request: PageRequest): Promise<PageAnswer>;
}

/** To another page of ours, after a form. Never to a place that came with the request. */
export function goTo(location: `/${string}`, cookies: readonly string[] = []): PageAnswer {
  return { status: 303, body: '', headers: { Location: location }, cookies };
}
