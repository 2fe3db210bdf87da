import type { ServerResponse } from 'node:http';
import type { z } from 'zod';
import type { Call } from '../../../src/kernel/call.ts';
import type { Scope } from '../access/scopes.ts';
import type { Principal } from './principal.ts';
import type { KeptFile, UploadedFile } from './upload.ts';

/**
 * Who may call a route: holders of a scope, any member with a session (`session`), or anybody (`public`).
 * Owners hold every scope.
 */
export type Access = Scope | 'session' | 'public';

/** What a handler is given: everything in it has been checked. */
export interface ApiRequest<P, Q, B> {
  readonly params: P;
  readonly query: Q;
  readonly body: B;
  /** Null on public routes. */
  readonly principal: Principal | null;
  readonly call: Call;
  /** The number in If-Match; undefined when the header is missing or `*`. */
  readonly ifMatch: number | undefined;
  /** The network address of the client. */
  readonly address: string;
}

export interface ApiAnswer<A> {
  readonly body: A;
  /** Default: the route's. */
  readonly status?: number;
  /** The number that If-Match is compared with. */
  readonly etag?: number;
  /** Path below /api/v1 of what was made. */
  readonly location?: string;
  /** Sets the session cookie, or takes it away. */
  readonly session?: { readonly secret: string } | 'ended';
  /** Takes the response over, instead of `body`. */
  readonly stream?: (response: ServerResponse) => void;
  /** For the audit log: what was done to what. Default: the last path parameter. */
  readonly targetId?: string;
}

/**
 * One operation of the API. From this one definition come its validation, its part of the OpenAPI document and its
 * error answers.
 */
export interface RouteSpec<P extends z.ZodObject, Q extends z.ZodObject, B extends z.ZodType, A extends z.ZodType> {
  /** operationId; also the action in the audit log. */
  readonly id: string;
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Below /api/v1, e.g. `/templates/{templateId}`. */
  readonly path: string;
  readonly tag: string;
  readonly summary: string;
  readonly access: Access;
  readonly params?: P;
  readonly query?: Q;
  readonly body?: B;
  readonly answer: A;
  /** Default 200. */
  readonly status?: number;
  /** Lists: `after` in the query and `next` in the answer are made opaque and bound to this list. */
  readonly list?: boolean;
  /** The answer has an ETag, and a route that changes what is there compares If-Match with it. */
  readonly ifMatch?: boolean;
  /** Default true for everything but GET and public routes. */
  readonly idempotent?: boolean;
  /** Reasons beside those that any route answers with. */
  readonly faults?: readonly string[];
  /** Default 10,000. */
  readonly timeoutMs?: number;
  /** Default 131,072. */
  readonly maxBodyBytes?: number;
  /** `handle` answers `stream`, of this content type. */
  readonly stream?: string;
  /** The body is a file, kept as it comes: `receive` answers what `handle` is given as `body`. */
  readonly upload?: { readonly types: readonly string[]; receive(file: UploadedFile, call: Call): Promise<KeptFile<z.infer<B>>> };
  /** Reads so much of people at once that it belongs in the audit log, though it changes nothing. */
  readonly audited?: boolean;
  /** Changes nothing, though it is no GET: not in the audit log. */
  readonly readsOnly?: boolean;
  handle(request: ApiRequest<z.infer<P>, z.infer<Q>, z.infer<B>>): Promise<ApiAnswer<z.input<A>>>;
}

export type AnyRoute = RouteSpec<z.ZodObject, z.ZodObject, z.ZodType, z.ZodType>;

type Nothing = z.ZodObject<Record<never, never>>;

/** Checks a definition's types against each other, then forgets them. */
export function route<P extends z.ZodObject = Nothing, Q extends z.ZodObject = Nothing, B extends z.ZodType = Nothing, A extends z.ZodType = z.ZodType>(spec: RouteSpec<P, Q, B, A>): AnyRoute {
  return spec as unknown as AnyRoute;
}

/** The routes of one subject. */
export interface RouteGroup {
  readonly routes: readonly AnyRoute[];
}

export function isIdempotent(spec: AnyRoute): boolean {
  return spec.idempotent ?? (spec.method !== 'GET' && spec.access !== 'public');
}

/** Whether the route belongs in the audit log. */
export function isAudited(spec: AnyRoute): boolean {
  return spec.audited ?? (spec.method !== 'GET' && spec.access !== 'public' && spec.readsOnly !== true);
}
