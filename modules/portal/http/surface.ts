import type { IncomingMessage, ServerResponse } from 'node:http';
import { inject, injectable } from 'inversify';
import type { HttpSurface } from '../../../src/kernel/module.ts';
import { IngestSurface } from '../ingest/ingest-surface.ts';
import { KoaApp } from './koa-app.ts';

/** Portal's side of the host's server: events on their short way first, everything else through Koa. */
@injectable()
export class PortalSurface implements HttpSurface {
  readonly #ingest: IngestSurface;
  readonly #app: KoaApp;

  constructor(@inject(IngestSurface) ingest: IngestSurface, @inject(KoaApp) app: KoaApp) {
    this.#ingest = ingest;
    this.#app = app;
  }

  handle(request: IncomingMessage, response: ServerResponse): boolean {
    if (!this.#ingest.handle(request, response)) void this.#app.handle(request, response);
    return true;
  }
}
