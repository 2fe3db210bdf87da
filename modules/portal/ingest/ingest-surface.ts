import type { IncomingMessage, ServerResponse } from 'node:http';
import { inject, injectable } from 'inversify';
import { Clock } from '../../../src/kernel/clock.ts';
import { type Deadline, deadlines } from '../../../src/kernel/deadline.ts';
import { Fault, type Json, toFault } from '../../../src/kernel/fault.ts';
import { newId } from '../../../src/kernel/ids.ts';
import { Publisher } from '../../../src/kernel/message.ts';
import { type HttpSurface, Settings } from '../../../src/kernel/module.ts';
import { type Counter, Log, Metrics } from '../../../src/kernel/telemetry.ts';
import { ApiKeys, type KeyHolder } from '../access/api-keys.ts';
import { headersOf, problemOf } from '../http/problem.ts';
import { checkBatch, type CheckedBatch, parseBody, type ParsedBody } from './batch.ts';
import { discard, overloaded, readBatch, textOf } from './body.ts';
import { InFlight } from './in-flight.ts';
import { ingestBatch, type Refused } from './job.ts';
import type { IngestSettings } from './settings.ts';
import { type CallType, REFUSALS, type RefusalReason } from './wire-item.ts';

/**
 * Where Segment's SDKs send: most to /v1/batch, older ones to /v1/import (Java with a slash at the end), those for
 * phones to /v1/b. By path, what the body holds: null is a batch.
 */
const ROUTES: ReadonlyMap<string, CallType | null> = new Map<string, CallType | null>([
  ['/v1/batch', null],
  ['/v1/import', null],
  ['/v1/b', null],
  ['/v1/identify', 'identify'],
  ['/v1/track', 'track'],
  ['/v1/page', 'page'],
  ['/v1/screen', 'screen'],
  ['/v1/group', 'group'],
  ['/v1/alias', 'alias'],
]);

/** What a request costs beside its bytes. */
const OVERHEAD_BYTES = 4_096;
const SUCCESS = '{"success":true}';

/**
 * Takes events by the Segment HTTP wire: reads, checks, puts on the queue, answers; everything else happens behind the
 * queue. It comes before Koa, since it is the busiest path of all.
 *
 * Answers, chosen so that an unmodified SDK neither loses nor repeats for ever:
 * - 200 once every good item is safely on disk, on the bus or on its way there; items that were refused are named in `refused` (and kept as problems).
 * - 400, 401, 403, 413: nothing was taken and never will be; SDKs drop it.
 * - 408, 429 and 503 with Retry-After: not taken, or not known to be; SDKs send it again, and messageId sees to the rest.
 */
@injectable()
export class IngestSurface implements HttpSurface {
  readonly #keys: ApiKeys;
  readonly #publisher: Publisher;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #settings: IngestSettings;
  readonly #inFlight: InFlight;
  readonly #requests: Counter;
  readonly #items: Counter;

  constructor(
    @inject(ApiKeys) keys: ApiKeys,
    @inject(Publisher) publisher: Publisher,
    @inject(Clock) clock: Clock,
    @inject(Log) log: Log,
    @inject(Metrics) metrics: Metrics,
    @inject(Settings) settings: { readonly ingest: IngestSettings },
  ) {
    this.#keys = keys;
    this.#publisher = publisher;
    this.#clock = clock;
    this.#log = log;
    this.#settings = settings.ingest;
    this.#inFlight = new InFlight(settings.ingest.maxInFlightBytes);
    this.#requests = metrics.counter('ingest_requests_total', 'Requests with events, by HTTP status.', ['status']);
    this.#items = metrics.counter('ingest_items_total', 'Items of such requests, by what became of them.', ['outcome']);
    metrics.gauge('ingest_in_flight_bytes', 'Bytes of requests with events that are under way.', () => this.#inFlight.bytes);
  }

  handle(request: IncomingMessage, response: ServerResponse): boolean {
    const type = ROUTES.get(pathOf(request.url ?? ''));
    if (type === undefined) return false;
    if (request.method === 'POST') void this.#serve(type, request, response);
    else this.#refuse(request, response, new Fault('invalid', 'Send events by POST.', { reason: 'method_not_allowed', details: { allow: 'POST' } }));
    return true;
  }

  async #serve(type: CallType | null, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const hold = this.#inFlight.hold();
    const reading = readBatch(request, hold);
    reading.body.catch(() => {});
    let read = false;
    const timeout: Deadline = {
      slot: 0,
      index: -1,
      expire: () => (read ? this.#refuse(request, response, notOnDisk()) : reading.fail(tooSlow())),
    };
    deadlines.add(timeout, Date.now() + this.#settings.requestTimeoutMs);
    let holder: KeyHolder | undefined;
    try {
      if (!hold.take(OVERHEAD_BYTES)) throw overloaded();
      const secret = basicUser(request.headers.authorization);
      // Before the body is there, so that who has no key does not get to fill the memory.
      if (secret !== undefined) holder = await this.#authenticate(secret);
      const body = await reading.body;
      read = true;
      const parsed = parseBody(textOf(body, request.headers['content-encoding'], hold));
      const writeKey = secret ?? parsed.value.writeKey;
      holder ??= await this.#authenticate(writeKey);
      this.#answer(request, response, await this.#take(type, parsed, holder, writeKey as string));
    } catch (thrown) {
      const fault = toFault(thrown);
      this.#refuse(request, response, fault);
      hold.release();
      if (holder !== undefined && fault.code === 'invalid') await this.#note(holder, [{ index: null, messageId: null, type, reason: fault.reason }]);
    } finally {
      hold.release();
      deadlines.remove(timeout);
    }
  }

  async #take(type: CallType | null, body: ParsedBody, holder: KeyHolder, writeKey: string): Promise<CheckedBatch> {
    const receivedAt = this.#clock.now();
    const checked = checkBatch(body, { type, sentAt: body.value.sentAt, receivedAt }, writeKey);
    if (checked.json !== null) await this.#publish(holder, receivedAt, type, checked.json, checked.refused);
    else if (checked.refused.length > 0) await this.#note(holder, checked.refused);
    return checked;
  }

  /** Faults `unauthenticated`/`key_invalid`, `denied`/`scope_missing`. */
  async #authenticate(secret: unknown): Promise<KeyHolder> {
    const holder = typeof secret === 'string' ? await this.#keys.authenticate(secret) : null;
    if (holder === null) throw new Fault('unauthenticated', 'Give a valid write key, as the user name of Basic authentication or as "writeKey" in the body.', { reason: 'key_invalid' });
    if (!holder.scopes.has('ingest')) throw new Fault('denied', 'This API key may not post events: it lacks the scope "ingest".', { reason: 'scope_missing' });
    return holder;
  }

  /** Resolves when the batch is on disk. Written by hand, so that a batch is not turned into text a second time. */
  #publish(holder: KeyHolder, receivedAt: number, type: CallType | null, json: string, refused: readonly Refused[]): Promise<void> {
    const payload = `{"receivedAt":${receivedAt},"keyId":${JSON.stringify(holder.keyId)},"type":${JSON.stringify(type)},"batch":${json},"refused":${JSON.stringify(refused)}}`;
    return this.#publisher.publishJson(ingestBatch, payload, { workspace: holder.workspace });
  }

  /** For the list of recent problems. Losing one loses no event: the sender has been told. */
  async #note(holder: KeyHolder, refused: readonly Refused[]): Promise<void> {
    await this.#publish(holder, this.#clock.now(), null, '{"batch":[]}', refused).catch((thrown: unknown) => {
      this.#log.warn({ workspace: holder.workspace, reason: toFault(thrown).reason }, 'A refused batch could not be noted as a problem.');
    });
  }

  #answer(request: IncomingMessage, response: ServerResponse, { accepted, refused }: CheckedBatch): void {
    this.#items.add(accepted, { outcome: 'accepted' });
    if (refused.length === 0) return this.#send(request, response, 200, {}, SUCCESS);
    this.#items.add(refused.length, { outcome: 'refused' });
    const items = refused.map((item) => ({ ...item, detail: REFUSALS[item.reason as RefusalReason] }));
    if (accepted > 0) return this.#send(request, response, 200, {}, JSON.stringify({ success: true, accepted, refused: items }));
    this.#refuse(request, response, new Fault('invalid', 'None of the items could be taken.', { reason: 'all_refused', details: { errors: items as unknown as Json } }));
  }

  #refuse(request: IncomingMessage, response: ServerResponse, fault: Fault): void {
    if (fault.code === 'cancelled' || response.headersSent) return;
    if (fault.code === 'internal') this.#log.error({ err: fault.cause ?? fault }, 'A request with events failed.');
    const { code, reason, message } = fault;
    const told = fault.code === 'unavailable' || fault.code === 'deadline' ? new Fault('unavailable', message, { reason, details: { retryAfterMs: 1_000, ...fault.details } }) : fault;
    const problem = problemOf(told, newId());
    // Whoever is that slow is not waited for.
    const connection = problem.status === 408 ? { Connection: 'close' } : {};
    const headers = { ...headersOf(told), ...connection, 'Content-Type': 'application/problem+json', ...(code === 'unauthenticated' ? { 'WWW-Authenticate': 'Basic realm="multilith"' } : {}) };
    this.#send(request, response, problem.status, headers, JSON.stringify({ success: false, ...problem }));
  }

  #send(request: IncomingMessage, response: ServerResponse, status: number, headers: Record<string, string>, body: string): void {
    if (response.headersSent) return;
    this.#requests.add(1, { status: String(status) });
    response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body), ...headers });
    response.end(body);
    if (!request.complete) discard(request, this.#settings.requestTimeoutMs);
  }
}

function pathOf(url: string): string {
  const query = url.indexOf('?');
  const path = query < 0 ? url : url.slice(0, query);
  return path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path;
}

/** Undefined when the header is missing or of another kind. */
function basicUser(authorization: string | undefined): string | undefined {
  const match = authorization === undefined ? null : /^Basic +([A-Za-z0-9+/=_-]{1,1000})$/i.exec(authorization);
  if (match === null) return undefined;
  const [user] = Buffer.from(match[1]!, 'base64').toString('latin1').split(':', 1);
  return user === '' ? undefined : user;
}

function tooSlow(): Fault {
  return new Fault('deadline', 'The body did not come in time.', { reason: 'body_timeout', origin: 'unsent' });
}

function notOnDisk(): Fault {
  return new Fault('unavailable', 'The events could not be written in time. Send them again.', { reason: 'not_written', origin: 'lost' });
}
