import type { IncomingHttpHeaders } from 'node:http';
import { inject, injectable } from 'inversify';
import type { Context } from 'koa';
import type { z } from 'zod';
import { Call } from '../../../src/kernel/call.ts';
import { Clock } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { Installation } from '../../../src/kernel/module.ts';
import { deriveKey } from '../access/secrets.ts';
import { toTexts } from '../pieces.ts';
import { parseJson, readBody } from './body.ts';
import { Cookies } from './cookies.ts';
import { Cursors } from './cursor.ts';
import type { StoredAnswer } from './idempotency.ts';
import { type Principal, Principals, WORKSPACE_HEADER } from './principal.ts';
import { headersOf, problemOf, statusOf } from './problem.ts';
import type { RequestScope } from './request-scope.ts';
import { type AnyRoute, type ApiAnswer, type ApiRequest, isAudited, isIdempotent } from './route.ts';
import { Routes } from './routes/routes.ts';
import { uploadOf } from './upload.ts';
import { fieldInvalid, readTexts, requireSafeJson, validate } from './validate.ts';
import { type Write, Writes } from './writes.ts';

const DEFAULT_TIMEOUT_MS = 10_000;
const DEFAULT_BODY_BYTES = 131_072;

/** Of what answers by a stream, or not at all. */
const NO_ANSWER: StoredAnswer = { status: 200, headers: {}, body: '' };

type Page = { items: unknown[]; next: string | null };
/** What `listOf` makes. */
type ListAnswer = z.ZodObject<{ items: z.ZodArray<z.ZodType>; next: z.ZodNullable<z.ZodString> }>;

/** Carries one request of the API through its checks to its handler, and the answer back. */
@injectable()
export class Api {
  readonly routes: readonly AnyRoute[];
  readonly #principals: Principals;
  readonly #writes: Writes;
  readonly #clock: Clock;
  readonly #cursors: Cursors;
  readonly #cookies: Cookies;

  constructor(@inject(Routes) routes: Routes, @inject(Principals) principals: Principals, @inject(Writes) writes: Writes, @inject(Clock) clock: Clock, @inject(Installation) installation: Installation) {
    this.routes = routes.all;
    this.#principals = principals;
    this.#writes = writes;
    this.#clock = clock;
    this.#cursors = new Cursors(deriveKey(installation.secret, 'cursors'));
    this.#cookies = new Cookies(installation.publicUrl);
  }

  async serve(spec: AnyRoute, context: Context, pathParams: Readonly<Record<string, string>>): Promise<void> {
    const scope = context.state.scope as RequestScope;
    const { headers } = context.req;
    const principal = await this.#admit(spec, context, scope);
    const call = this.#callOf(spec, scope, principal, headers);
    const params = spec.params === undefined ? {} : validate(spec.params, readTexts(spec.params, Object.entries(pathParams), 'path'), 'path');
    const { query, list } = this.#query(spec, context.querystring, params, call);
    const { bytes, body, discard } = await this.#body(spec, context, call);
    const request: ApiRequest<unknown, unknown, unknown> = { params, query, body, principal, call, ifMatch: readIfMatch(spec, headers), address: scope.address };
    const handle = () => spec.handle(request as Parameters<AnyRoute['handle']>[0]);
    const write = writeOf(spec, context, principal, call, params, bytes, scope.address);
    if (spec.stream !== undefined) return this.#stream(context, write, handle);
    const { answer, again } = await this.#writes
      .run(
        write,
        async () => {
          const given = await handle();
          this.#setCookie(context, given);
          return { answer: await this.#encode(spec, given, list), targetId: given.targetId ?? write.audited?.targetId ?? null };
        },
        (fault) => faultAnswer(fault, scope.callId),
      )
      .catch(async (thrown: unknown) => {
        await discard?.();
        throw thrown;
      });
    if (again) {
      await discard?.();
      context.set('Idempotency-Replayed', 'true');
    }
    send(context, answer);
  }

  async #stream(context: Context, write: Write, handle: () => Promise<ApiAnswer<unknown>>): Promise<void> {
    if (context.method === 'HEAD') return void (context.status = 200);
    let given: ApiAnswer<unknown> | undefined;
    await this.#writes.run(
      write,
      async () => {
        given = await handle();
        return { answer: NO_ANSWER, targetId: write.audited?.targetId ?? null };
      },
      () => NO_ANSWER,
    );
    given!.stream!(context.res);
    context.respond = false;
  }

  async #admit(spec: AnyRoute, context: Context, scope: RequestScope): Promise<Principal | null> {
    if (spec.access === 'public') {
      if (spec.method !== 'GET') this.#principals.refuseOtherSites(context.req.headers);
      return null;
    }
    const asked = spec.stream !== undefined ? (new URLSearchParams(context.querystring).get('workspace') ?? undefined) : undefined;
    const principal = await this.#principals.find(context.req.headers, headerOf(context.req.headers, WORKSPACE_HEADER) ?? asked);
    scope.principal = principal;
    if (principal === null) throw new Fault('unauthenticated', 'Log in, or send an API key as `Authorization: Bearer ml_…`.', { reason: 'login_required' });
    if (spec.access === 'session') {
      if (principal.session === null) throw new Fault('denied', 'This is for people who are logged in, not for API keys.', { reason: 'session_required' });
    } else if (!principal.scopes.has(spec.access)) {
      throw new Fault('denied', `This needs the scope ${spec.access}.`, { reason: 'scope_missing', details: { scope: spec.access } });
    }
    this.#principals.requireOurPage(principal, context.method, context.req.headers);
    return principal;
  }

  #callOf(spec: AnyRoute, scope: RequestScope, principal: Principal | null, headers: IncomingHttpHeaders): Call {
    const key = isIdempotent(spec) ? headerOf(headers, 'idempotency-key') : undefined;
    if (key !== undefined && !/^[\x21-\x7e]{1,255}$/.test(key)) throw fieldInvalid('header', 'Idempotency-Key', 'string', 'is not 1 to 255 printable ASCII characters', 'Send a UUID, for example.');
    return new Call({
      id: scope.callId,
      workspace: principal?.workspace ?? null,
      actor: principal?.actor ?? { kind: 'anonymous', id: 'anonymous' },
      deadline: this.#clock.now() + (spec.timeoutMs ?? DEFAULT_TIMEOUT_MS),
      trace: scope.trace,
      signal: scope.left,
      ...(key === undefined ? {} : { idempotencyKey: key }),
    });
  }

  /** `list` is what the cursors of this list are bound to. */
  #query(spec: AnyRoute, text: string, params: object, call: Call): { query: Record<string, unknown>; list: readonly unknown[] } {
    if (spec.query === undefined) {
      const [unknown] = new URLSearchParams(text).keys();
      if (unknown !== undefined) throw fieldInvalid('query', unknown.slice(0, 100), 'string', 'there is no such field', 'Remove it, or correct its name.');
      return { query: {}, list: [] };
    }
    const query = validate(spec.query, readTexts(spec.query, new URLSearchParams(text), 'query'), 'query') as Record<string, unknown>;
    if (spec.list !== true) return { query, list: [] };
    const { after, limit: _, ...filters } = query;
    const list = [spec.id, call.workspace, call.workspace === null ? call.actor.id : null, Object.entries(params), Object.entries(filters).sort()];
    return { query: typeof after === 'string' ? { ...query, after: this.#cursors.open(after, list) } : query, list };
  }

  /** `discard` takes away what was kept of it. */
  async #body(spec: AnyRoute, context: Context, call: Call): Promise<{ bytes: Uint8Array; body: unknown; discard?: () => Promise<void> }> {
    const { headers } = context.req;
    if (spec.upload !== undefined) {
      const { body, digest, discard } = await spec.upload.receive(uploadOf(context.req, spec.upload.types), call);
      return { bytes: digest, body, discard };
    }
    if (headers['content-length'] === undefined && headers['transfer-encoding'] === undefined && spec.body === undefined) return { bytes: Buffer.alloc(0), body: {} };
    const bytes = await readBody(context.req, spec.body === undefined ? 1_024 : (spec.maxBodyBytes ?? DEFAULT_BODY_BYTES), call.signal);
    if (spec.body === undefined) {
      if (bytes.length > 0 && bytes.toString().trim() !== '{}') throw fieldInvalid('body', '', 'bytes', 'this operation takes no body', 'Leave it out.');
      return { bytes, body: {} };
    }
    const value = parseJson(bytes, headers['content-type']);
    requireSafeJson(value);
    return { bytes, body: validate(spec.body, value, 'body') };
  }

  async #encode(spec: AnyRoute, given: ApiAnswer<unknown>, list: readonly unknown[]): Promise<StoredAnswer> {
    return {
      status: given.status ?? spec.status ?? 200,
      headers: {
        'Content-Type': 'application/json; charset=utf-8',
        ...(given.etag === undefined ? {} : { ETag: `"${given.etag}"` }),
        ...(given.location === undefined ? {} : { Location: `/api/v1${given.location}` }),
      },
      // Through the schema, so that nothing leaves that the document does not name.
      body: spec.list === true ? await this.#encodePage(spec, given.body as Page, list) : JSON.stringify(spec.answer.parse(given.body)),
    };
  }

  async #encodePage(spec: AnyRoute, { items, next }: Page, list: readonly unknown[]): Promise<string> {
    const { element } = (spec.answer as unknown as ListAnswer).shape.items;
    const texts = await toTexts(items, (item) => JSON.stringify(element.parse(item)));
    return `{"items":[${texts.join()}],"next":${JSON.stringify(next === null ? null : this.#cursors.seal(next, list))}}`;
  }

  #setCookie(context: Context, { session }: ApiAnswer<unknown>): void {
    if (session === undefined) return;
    context.append('Set-Cookie', session === 'ended' ? this.#cookies.sessionEnded() : this.#cookies.session(session.secret));
  }
}

export function faultAnswer(fault: Fault, callId: string): StoredAnswer {
  return { status: statusOf(fault), headers: { 'Content-Type': 'application/problem+json; charset=utf-8', ...headersOf(fault) }, body: JSON.stringify(problemOf(fault, callId)) };
}

export function send(context: Context, answer: StoredAnswer): void {
  context.status = answer.status;
  context.set({ ...answer.headers });
  context.body = answer.body;
}

function headerOf(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  return typeof value === 'string' ? value : undefined;
}

/** RFC 9110, 13.1.1: any of a list; ours are strong and a number. */
function readIfMatch(spec: AnyRoute, headers: IncomingHttpHeaders): number | undefined {
  const header = spec.ifMatch === true ? headers['if-match'] : undefined;
  if (header === undefined || header.trim() === '*') return undefined;
  const number = /^"(\d{1,15})"$/.exec(header.trim())?.[1];
  if (number === undefined) throw new Fault('conflict', 'If-Match holds no ETag of ours. Send the one that the last answer carried.', { reason: 'version_changed' });
  return Number(number);
}

function writeOf(spec: AnyRoute, context: Context, by: Principal | null, call: Call, params: object, bytes: Uint8Array, address: string): Write {
  const { workspace, actor } = call;
  const targetId = Object.values(params).map(String).at(0) ?? null;
  return {
    by,
    audited: isAudited(spec) ? { workspace, actor, action: spec.id, targetId, address, callId: call.id } : undefined,
    key:
      call.idempotencyKey === undefined
        ? undefined
        : { value: call.idempotencyKey, owner: [workspace, actor.kind, actor.id], request: [spec.method, context.path, context.querystring, context.get('If-Match'), bytes] },
  };
}
