import type { IncomingMessage, ServerResponse } from 'node:http';
import type { HttpSurface } from '../../kernel/module.ts';
import { problem } from './http-server.ts';
import type { HostMetrics } from './metrics.ts';

export type Phase = 'starting' | 'ready' | 'stopping';

/** What whoever runs the host asks: is it alive, may it get traffic, how is it doing. Knows nothing of the modules. */
export class HealthSurface implements HttpSurface {
  readonly #metrics: HostMetrics;
  readonly #since = performance.now();
  readonly #modules: readonly string[];
  readonly #problems: () => readonly string[];
  phase: Phase = 'starting';

  /** `problems`: what does not work just now though the host is ready, for people; told to anybody. */
  constructor(metrics: HostMetrics, modules: readonly string[], problems: () => readonly string[]) {
    this.#metrics = metrics;
    this.#modules = modules;
    this.#problems = problems;
  }

  handle(request: IncomingMessage, response: ServerResponse): boolean {
    const path = request.url?.split('?', 1)[0];
    if (path === '/livez') this.#answer(request, response, 200, { alive: true });
    else if (path === '/readyz') this.#answer(request, response, this.phase === 'ready' ? 200 : 503, this.#status());
    else if (path === '/metrics') void this.#scrape(request, response);
    else return this.#hold(response);
    return true;
  }

  #status(): object {
    return { ready: this.phase === 'ready', phase: this.phase, modules: this.#modules, problems: this.#problems(), uptimeSeconds: Math.round((performance.now() - this.#since) / 1_000) };
  }

  /** Before it is ready and while it stops, nothing else is answered. */
  #hold(response: ServerResponse): boolean {
    if (this.phase === 'ready') return false;
    problem(response, 503, this.phase, `The server is ${this.phase}.`, { 'retry-after': '1', connection: 'close' });
    return true;
  }

  #answer(request: IncomingMessage, response: ServerResponse, status: number, body: object): void {
    if (refusesMethod(request, response)) return;
    response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' }).end(`${JSON.stringify(body)}\n`);
  }

  async #scrape(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (refusesMethod(request, response)) return;
    const text = await this.#metrics.render();
    response.writeHead(200, { 'content-type': this.#metrics.contentType, 'cache-control': 'no-store' }).end(text);
  }
}

function refusesMethod({ method }: IncomingMessage, response: ServerResponse): boolean {
  if (method === 'GET' || method === 'HEAD') return false;
  problem(response, 405, 'method_not_allowed', 'Only GET is answered here.', { allow: 'GET, HEAD' });
  return true;
}
