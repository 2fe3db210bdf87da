import { createServer, type IncomingMessage, type Server as NodeServer, type ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { Fault, toFault } from '../../../src/kernel/fault.ts';
import type { HttpSurface } from '../../../src/kernel/module.ts';
import { type Answer, type Dispatcher, type Identity, PEER_REFUSED, type Server, STOPPING } from '../../../src/ports/transport.ts';
import type { Arrived } from '../shared/arrived.ts';
import { type AnswerText, answerText, faultText } from './answer.ts';
import { arrivedOfEntry, entriesOf } from './batch.ts';
import { BatchAnswers } from './batch-answers.ts';
import { discardBody, readBody } from './body.ts';
import { arrivedOf } from './call-fields.ts';
import { BATCH_HEADER, fieldsOf } from './headers.ts';
import { MAX_CALLS_UNDER_WAY, MAX_CONNECTIONS, MAX_HEADER_BYTES, MAX_PIPELINED } from './limits.ts';
import { PROBLEM_TYPE, problemOf, statusOf } from './problem.ts';
import { refuseMalformed } from './malformed.ts';
import { isContractPath, type Route, routeOf } from './routes.ts';
import { SecretCheck } from './secret.ts';
import type { HttpSettings } from './settings.ts';
import { valueOf } from './values.ts';

/** Longer than links keep an idle connection, so that they close it and no request meets a connection that is closing. */
const KEEP_ALIVE_MS = 75_000;
/** How long, at a stop, connections without a request are left to their clients, which alone know that none is on its way. */
const STOP_GRACE_MS = 2_000;

/** A request that has no answer yet. */
interface Work {
  readonly response: ServerResponse;
  /** How many calls it holds. */
  calls: number;
  /** Bytes of its answers so far. */
  owed: number;
  /** Called when nobody is left to take the answer. */
  letGo: (() => void) | undefined;
}

/** Serves calls as HTTP/1.1 on connections that somebody else accepted. */
export class HttpServing implements Server<Duplex> {
  readonly #dispatcher: Dispatcher;
  readonly #secret: SecretCheck;
  readonly #introduction: string;
  readonly #everything: string;
  /** Who answers what is no call. */
  readonly #others: HttpSurface | undefined;
  readonly #server: NodeServer;
  /** What is under way on each connection. */
  readonly #open = new Map<Duplex, Set<Work>>();
  /** Connections on which nobody has asked for anything but the host's own pages: closing them loses no call. */
  readonly #probes = new Set<Duplex>();
  /** By the id that the caller gave them. */
  readonly #batches = new Map<string, BatchAnswers>();
  readonly #mostOwedBytes: number;
  #underWay = 0;
  /** Of all that is under way. */
  #owed = 0;
  #stopping: Promise<void> | undefined;
  #emptied: (() => void) | undefined;

  constructor({ introduction, offers, secret }: Identity, dispatcher: Dispatcher, { headersTimeoutMs, requestTimeoutMs, stalledMs, mostOwedBytes }: HttpSettings, others?: HttpSurface) {
    this.#others = others;
    this.#mostOwedBytes = mostOwedBytes;
    this.#dispatcher = dispatcher;
    this.#secret = new SecretCheck(secret);
    this.#introduction = JSON.stringify(introduction);
    this.#everything = JSON.stringify({ introduction, offers });
    this.#server = createServer(
      { maxHeaderSize: MAX_HEADER_BYTES, headersTimeout: headersTimeoutMs, requestTimeout: requestTimeoutMs, keepAliveTimeout: KEEP_ALIVE_MS, connectionsCheckingInterval: Math.min(headersTimeoutMs, 1_000) },
      (request, response) => this.#take(request, response),
    );
    this.#server.on('clientError', refuseMalformed);
    // Long calls leave a connection silent; one whose client does not read holds an answer in memory.
    this.#server.setTimeout(stalledMs, (socket) => void (socket.writableLength > 0 && socket.destroy()));
    // It never listens itself, and looks for slow requests only from this event on.
    this.#server.emit('listening');
  }

  get connections(): number {
    return this.#open.size;
  }

  accept(connection: Duplex): void {
    if (this.#open.size >= MAX_CONNECTIONS || (this.#stopping && this.#emptied === undefined)) return void connection.on('error', () => {}).destroy();
    this.#open.set(connection, new Set());
    connection.once('close', () => this.#left(connection));
    if (connection instanceof Socket) connection.setNoDelay(true);
    this.#server.emit('connection', connection);
    if (connection.isPaused()) connection.resume();
  }

  stop(deadlineMs: number): Promise<void> {
    return (this.#stopping ??= this.#drain(deadlineMs));
  }

  async #drain(deadlineMs: number): Promise<void> {
    const emptied = new Promise<void>((resolve) => (this.#emptied = resolve));
    // Links are told when they next ask, within a second or when a call is refused, and then close their idle
    // connections; closing those from here could lose a call, and would look as if the host had been killed.
    for (const connection of [...this.#probes]) if (this.#open.get(connection)!.size === 0) connection.destroy();
    const grace = setTimeout(() => this.#close((works) => works.size === 0), Math.min(STOP_GRACE_MS, deadlineMs));
    const giveUp = setTimeout(() => this.#close(() => true), deadlineMs);
    if (this.#open.size > 0) await emptied;
    this.#emptied = undefined;
    clearTimeout(grace);
    clearTimeout(giveUp);
    this.#server.close();
  }

  #close(which: (works: ReadonlySet<Work>) => boolean): void {
    for (const [connection, works] of this.#open) if (which(works)) connection.destroy();
  }

  #left(connection: Duplex): void {
    // Responses that wait behind another one of the same connection are not told of its end.
    for (const work of this.#open.get(connection)!) this.#finish(connection, work);
    this.#open.delete(connection);
    this.#probes.delete(connection);
    if (this.#open.size === 0) this.#emptied?.();
  }

  #take(request: IncomingMessage, response: ServerResponse): void {
    const work: Work = { response, calls: 1, owed: 0, letGo: undefined };
    this.#underWay++;
    this.#open.get(request.socket)?.add(work);
    response.once('close', () => this.#finish(request.socket, work));
    try {
      if (!isContractPath(request.url!) && this.#others?.handle(request, response)) return void this.#probes.add(request.socket);
      this.#probes.delete(request.socket);
      this.#serve(this.#admitted(request), request, work);
    } catch (thrown) {
      this.#refuse(request, response, toFault(thrown));
    }
  }

  #finish(connection: Duplex, work: Work): void {
    if (!this.#open.get(connection)?.delete(work)) return;
    this.#underWay -= work.calls;
    this.#owed -= work.owed;
    if (!work.response.writableEnded) work.letGo?.();
  }

  /** @throws Fault when the request is not to be served. */
  #admitted(request: IncomingMessage): Route {
    // Where no secret is needed, a page whose name has come to mean this machine would be let in as if it were this host's own.
    if (request.headers.origin !== undefined) throw new Fault('denied', 'Pages in browsers call no hosts; the portal has an API for them.', { reason: 'from_a_browser', origin: 'unsent' });
    const route = routeOf(request);
    if (!this.#secret.passes(request.headers.authorization)) {
      throw new Fault('unauthenticated', 'The hosts of this topology share a secret. Send it as the header Authorization: Bearer <secret>.', { reason: 'secret_required', origin: 'unsent' });
    }
    if (this.#stopping) throw new Fault('unavailable', 'This host is stopping.', { reason: STOPPING, origin: 'unsent' });
    if (this.#underWay > MAX_CALLS_UNDER_WAY || (this.#open.get(request.socket)?.size ?? 0) > MAX_PIPELINED) {
      throw new Fault('exhausted', 'This host has too much under way. Try again later, or elsewhere.', { reason: 'host_full', origin: 'unsent' });
    }
    return route;
  }

  #serve(route: Route, request: IncomingMessage, work: Work): void {
    const { response } = work;
    switch (route.kind) {
      case 'introduction':
        return this.#send(response, 200, 'application/json', this.#introduction);
      case 'offers':
        return this.#send(response, 200, 'application/json', this.#everything);
      case 'cancel':
        for (const n of route.calls) this.#batches.get(route.batch)?.cancel(n);
        return void response.writeHead(204).end();
      case 'call':
        return this.#read(request, response, (value) => this.#call(route, value, request, work));
      case 'batch':
        return this.#read(request, response, (value) => this.#batch(value, request, work));
    }
  }

  #read(request: IncomingMessage, response: ServerResponse, then: (value: unknown) => void): void {
    readBody(request, (body, refused) => {
      try {
        if (refused) throw refused;
        then(valueOf(body!));
      } catch (thrown) {
        this.#refuse(request, response, toFault(thrown));
      }
    });
  }

  #call({ contract, method }: { contract: string; method: string }, value: unknown, request: IncomingMessage, work: Work): void {
    const call = arrivedOf(contract, method, value, fieldsOf(request.headers));
    work.letGo = () => call.cancel();
    void this.#dispatcher.dispatch(call).then((answer) => this.#answer(work, answer));
  }

  #answer(work: Work, answer: Answer): void {
    const { text, fault } = this.#owe(work, answerText(answer));
    const { response } = work;
    if (fault === undefined) this.#send(response, 200, 'application/json', text);
    else this.#send(response, statusOf(fault), PROBLEM_TYPE, JSON.stringify(problemOf(fault)));
  }

  /** Counts what a caller has to take, or says that callers take too little. What is not under way any more is owed to nobody. */
  #owe(work: Work, answer: AnswerText): AnswerText {
    if (this.#owed + answer.text.length > this.#mostOwedBytes && answer.fault === undefined) return NOT_READ;
    if (this.#open.get(work.response.req.socket)?.has(work)) {
      work.owed += answer.text.length;
      this.#owed += answer.text.length;
    }
    return answer;
  }

  #batch(value: unknown, request: IncomingMessage, work: Work): void {
    const { response } = work;
    const entries = entriesOf(value);
    const calls: (Arrived | undefined)[] = entries.map(() => undefined);
    const answers = new BatchAnswers(response, calls, (answer) => this.#owe(work, answer));
    if (this.#stopping) response.shouldKeepAlive = false;
    const id = request.headers[BATCH_HEADER] as string | undefined;
    if (id !== undefined) this.#batches.set(id, answers);
    this.#underWay += entries.length - 1;
    work.calls = entries.length;
    work.letGo = () => answers.cancelAll();
    work.response.once('close', () => id !== undefined && this.#batches.delete(id));
    entries.forEach((entry, n) => {
      try {
        const call = arrivedOfEntry(entry);
        calls[n] = call;
        void this.#dispatcher.dispatch(call).then((answer) => answers.answer(n, answer));
      } catch (thrown) {
        answers.answer(n, { fault: toFault(thrown).toRecord() });
      }
    });
  }

  #send(response: ServerResponse, status: number, type: string, text: string): void {
    const headers = ['content-type', type, 'content-length', String(Buffer.byteLength(text))];
    // Else a client that keeps its connections alive would keep the host open for as long as it likes.
    if (this.#stopping) headers.push('connection', 'close');
    response.writeHead(status, headers);
    response.end(text);
  }

  /** Tells the client why before its connection is closed, also when it is still sending. A stranger's is closed in any case. */
  #refuse(request: IncomingMessage, response: ServerResponse, fault: Fault): void {
    const record = fault.toRecord();
    const isStranger = fault.code === 'unauthenticated';
    const text = JSON.stringify(problemOf({ ...record, origin: 'unsent' }));
    const { allow } = record.details;
    response.writeHead(statusOf(record), {
      'content-type': PROBLEM_TYPE,
      'content-length': Buffer.byteLength(text),
      ...(request.complete && !this.#stopping && !isStranger ? {} : { connection: 'close' }),
      ...(typeof allow === 'string' ? { allow } : {}),
      ...(isStranger ? { 'www-authenticate': 'Bearer realm="multilith"' } : {}),
    });
    if (isStranger) response.once('finish', () => request.socket.destroy(refusedPeer(request)));
    response.write(text);
    if (request.complete) response.end();
    else discardBody(request, () => response.end());
  }
}

const NOT_READ = faultText(new Fault('exhausted', 'The callers do not take the answers of their other calls.', { reason: 'answers_not_read' }));

/** Says nothing of what was shown instead. */
function refusedPeer({ headers }: IncomingMessage): Error {
  const problem = headers.authorization === undefined ? 'It has not shown the secret of this topology, over http.' : 'It has another secret than this host, over http; give both the same.';
  return Object.assign(new Error(problem), { code: PEER_REFUSED });
}
