import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { FaultCode } from '../../kernel/fault.ts';
import { StartStop, type Lifecycle } from '../../kernel/lifecycle.ts';
import type { HttpSurface } from '../../kernel/module.ts';
import type { Counter, Histogram, Log, Metrics } from '../../kernel/telemetry.ts';
import type { ListenAddress } from '../config/listen.ts';
import type { Config } from '../config/config.ts';
import { addressOf, listenAt } from './listening.ts';

/** Names and values of a request's headers together; Node answers 431 beyond it. */
const MAX_HEADER_BYTES = 16 * 1024;

/**
 * The web server of this host. Listens before the modules are ready, so that a port that is taken is known at once and
 * probes are answered from the beginning; `surfaces` gets requests from then on.
 */
export class HttpServer implements Lifecycle {
  readonly #server: Server;
  readonly #life: StartStop;
  readonly #log: Log;
  readonly #answers: Counter;
  readonly #durations: Histogram;
  readonly #underWay = new Set<ServerResponse>();
  #stopping = false;
  /** Asked in turn; the first that knows the path answers. */
  surfaces: readonly HttpSurface[] = [];

  constructor(settings: Config['http'], log: Log, metrics: Metrics) {
    this.#log = log;
    this.#answers = metrics.counter('multilith_http_answers_total', 'Answered HTTP requests by class of status.', ['status']);
    this.#durations = metrics.histogram('multilith_http_answer_seconds', 'From the head of a request to the end of its answer; live streams left out.');
    this.#server = createServer(
      {
        maxHeaderSize: MAX_HEADER_BYTES,
        headersTimeout: settings.headersTimeoutMs,
        requestTimeout: settings.requestTimeoutMs,
        keepAliveTimeout: settings.keepAliveTimeoutMs,
        connectionsCheckingInterval: 1_000,
        noDelay: true,
      },
      (request, response) => this.#serve(request, response),
    );
    this.#server.maxConnections = settings.maxConnections;
    // A client that does not read what it asked for holds it in memory.
    this.#server.setTimeout(settings.stalledTimeoutMs);
    this.#server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => refuse(error, socket));
    this.#life = new StartStop(
      () => listenAt(this.#server, settings.listen, (address) => `MULTILITH_HTTP_LISTEN=${address}`, log),
      (deadlineMs) => this.#drain(deadlineMs),
    );
  }

  start(): Promise<void> {
    return this.#life.start();
  }

  /** Live streams are ended, requests under way are answered, new ones find nobody. */
  stop(deadlineMs: number): Promise<void> {
    return this.#life.stop(deadlineMs);
  }

  /** Where it listens, with the port that the system chose when port 0 was asked for. */
  get address(): ListenAddress {
    return addressOf(this.#server);
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const startedAt = performance.now();
    this.#underWay.add(response);
    response.once('close', () => {
      this.#underWay.delete(response);
      this.#answers.add(1, { status: `${Math.floor(response.statusCode / 100)}xx` });
      if (!isLive(response)) this.#durations.observe((performance.now() - startedAt) / 1_000);
      // Else a client that keeps its connections alive would keep the server open for as long as it likes.
      if (this.#stopping) request.socket.end();
    });
    try {
      if (!this.surfaces.some((surface) => surface.handle(request, response))) problem(response, 404, 'not_found', 'There is nothing at this address.');
    } catch (error) {
      this.#log.error({ err: error }, 'A request broke the handler');
      if (response.headersSent) response.destroy();
      else problem(response, 500, 'internal', 'Something went wrong on our side. It has been logged.');
    }
  }

  async #drain(deadlineMs: number): Promise<void> {
    this.#stopping = true;
    // Closes the connections that have nothing under way; the others close with their answer.
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const response of this.#underWay) if (isLive(response)) response.end();
    const giveUp = setTimeout(() => this.#server.closeAllConnections(), deadlineMs);
    await closed;
    clearTimeout(giveUp);
  }
}

/** An answer that goes on until somebody ends it; its headers may have been written past `getHeader`. */
function isLive(response: ServerResponse): boolean {
  const type = response.getHeader('content-type') ?? response.req.headers.accept;
  return response.headersSent && String(type).includes('text/event-stream');
}

const TITLES: Readonly<Record<number, readonly [FaultCode, string]>> = {
  400: ['invalid', 'Not a request'],
  404: ['not_found', 'Not found'],
  405: ['invalid', 'Method not allowed'],
  408: ['deadline', 'Too slow'],
  431: ['invalid', 'Headers too large'],
  500: ['internal', 'Our mistake'],
  503: ['unavailable', 'Not available'],
};

/** RFC 9457, with the same members as the API's own problems. */
function problemText(status: number, reason: string, detail: string): string {
  const [code, title] = TITLES[status]!;
  return JSON.stringify({ type: `urn:multilith:problem:${reason}`, title, status, detail, code, reason });
}

export function problem(response: ServerResponse, status: number, reason: string, detail: string, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(status, { 'content-type': 'application/problem+json', 'cache-control': 'no-store', ...headers });
  response.end(problemText(status, reason, detail));
}

/** What is no HTTP, too large or too slow is told so where it can be told, and cut off. */
function refuse(error: NodeJS.ErrnoException, socket: Socket): void {
  if (!socket.writable || error.code === 'ECONNRESET') return void socket.destroy();
  const [status, reason, detail] = {
    HPE_HEADER_OVERFLOW: ['431 Request Header Fields Too Large', 'headers_too_large', `The headers must be at most ${MAX_HEADER_BYTES} bytes.`],
    ERR_HTTP_REQUEST_TIMEOUT: ['408 Request Timeout', 'too_slow', 'The request took too long to arrive.'],
  }[error.code ?? ''] ?? ['400 Bad Request', 'malformed', 'This is not an HTTP request.'];
  const body = problemText(Number.parseInt(status!, 10), reason!, detail!);
  socket.end(`HTTP/1.1 ${status}\r\ncontent-type: application/problem+json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`, () => socket.destroy());
}
