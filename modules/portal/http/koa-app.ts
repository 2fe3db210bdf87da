import type { IncomingMessage, ServerResponse } from 'node:http';
import Router from '@koa/router';
import { inject, injectable } from 'inversify';
import Koa, { type Context, type Next } from 'koa';
import { Call } from '../../../src/kernel/call.ts';
import { Clock } from '../../../src/kernel/clock.ts';
import { Fault, toFault } from '../../../src/kernel/fault.ts';
import { Installation, Settings } from '../../../src/kernel/module.ts';
import { Log, Metrics } from '../../../src/kernel/telemetry.ts';
import { notice } from '../pages/layout.ts';
import { FilePages } from '../pages/file-pages.ts';
import type { PageRequest, PageRoute } from '../pages/page.ts';
import { PublicPages } from '../pages/public-pages.ts';
import { StaffPages } from '../pages/staff-pages.ts';
import { Visitors } from '../pages/visitors.ts';
import type { PortalSettings } from '../settings.ts';
import { Api, faultAnswer, send } from './api.ts';
import { parseForm, readBody } from './body.ts';
import { openApiOf } from './openapi.ts';
import type { Principal } from './principal.ts';
import { headersOf, statusOf } from './problem.ts';
import { openScope, type RequestScope } from './request-scope.ts';
import { SECURITY_HEADERS, STRICT_TRANSPORT } from './security-headers.ts';
import { uploadForm } from './upload-form.ts';

const PAGE_TIMEOUT_MS = 10_000;
const MAX_FORM_BYTES = 16_384;

/** Everything that portal shows over HTTP but the ingest wire: the API below /api, and the pages. */
@injectable()
export class KoaApp {
  readonly handle: (request: IncomingMessage, response: ServerResponse) => Promise<void>;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #visitors: Visitors;
  readonly #trustedProxies: number;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #observe: (scope: RequestScope, method: string, status: number) => void;

  constructor(
    @inject(Api) api: Api,
    @inject(PublicPages) publicPages: PublicPages,
    @inject(StaffPages) staffPages: StaffPages,
    @inject(FilePages) filePages: FilePages,
    @inject(Visitors) visitors: Visitors,
    @inject(Clock) clock: Clock,
    @inject(Log) log: Log,
    @inject(Metrics) metrics: Metrics,
    @inject(Installation) installation: Installation,
    @inject(Settings) settings: PortalSettings,
  ) {
    this.#clock = clock;
    this.#log = log;
    this.#visitors = visitors;
    this.#trustedProxies = settings.trustedProxies;
    this.#headers = { ...SECURITY_HEADERS, ...(installation.publicUrl.startsWith('https:') ? STRICT_TRANSPORT : {}) };
    const seconds = metrics.histogram('portal_http_request_seconds', 'From a request\'s arrival to its answer, by route.', ['route', 'method', 'status']);
    this.#observe = (scope, method, status) => seconds.observe((performance.now() - scope.startedAt) / 1_000, { route: scope.route, method, status: `${Math.floor(status / 100)}xx` });

    // `sensitive` and `strict`: one thing has one address.
    const router = new Router({ sensitive: true, strict: true });
    // Made when somebody asks: most starts are for nobody who does.
    let openApi: Promise<string> | undefined;
    router.get('/api/openapi.json', async (context) => {
      (context.state.scope as RequestScope).route = '/api/openapi.json';
      send(context, { status: 200, headers: { 'Content-Type': 'application/json; charset=utf-8' }, body: await (openApi ??= openApiOf(api.routes, installation.publicUrl).then((document) => JSON.stringify(document))) });
    });
    for (const spec of api.routes) {
      const path = `/api/v1${spec.path.replace(/\{(\w+)\}/g, ':$1')}`;
      router.register(path, [spec.method], (context) => {
        (context.state.scope as RequestScope).route = path;
        return api.serve(spec, context as unknown as Context, context.params as Record<string, string>);
      });
    }
    for (const page of [...publicPages.routes, ...staffPages.routes, ...filePages.routes]) {
      router.register(page.path, [page.method], (context) => this.#page(page, context as unknown as Context, context.params as Record<string, string>));
    }

    const app = new Koa();
    app.silent = true;
    app.use((context, next) => this.#surround(context, next));
    app.use(router.routes());
    app.use((context) => notMatched(router, context));
    this.handle = app.callback();
  }

  async #surround(context: Context, next: Next): Promise<void> {
    const scope = openScope(context.req, context.res, this.#trustedProxies);
    context.state.scope = scope;
    context.set({ ...this.#headers, 'X-Call-Id': scope.callId });
    try {
      await next();
    } catch (thrown) {
      await this.#refuse(context, scope, toFault(thrown));
    }
    // What was not read of a request must not be taken for the next one.
    if (!context.req.complete && context.respond !== false) context.set('Connection', 'close');
    this.#observe(scope, context.method, context.status);
    this.#log.info(
      {
        callId: scope.callId,
        traceId: scope.trace.traceId,
        method: context.method,
        route: scope.route,
        status: context.status,
        ms: Math.round(performance.now() - scope.startedAt),
        workspace: scope.principal?.workspace ?? null,
        actor: scope.principal === null ? null : `${scope.principal.actor.kind}:${scope.principal.actor.id}`,
      },
      'request',
    );
  }

  async #refuse(context: Context, scope: RequestScope, fault: Fault): Promise<void> {
    if (fault.code === 'internal') this.#log.error({ callId: scope.callId, traceId: scope.trace.traceId, route: scope.route, err: fault.cause ?? fault }, 'A request failed.');
    if (context.path.startsWith('/api/')) return send(context, faultAnswer(fault, scope.callId));
    // What has failed may be what finds out who asks; the page then says so without them.
    const visitor = await this.#visitors.findAnywhere(context.headers.cookie, new URLSearchParams(context.querystring).get('workspace') ?? undefined).catch(() => null);
    scope.principal ??= visitor?.principal ?? null;
    send(context, {
      status: statusOf(fault),
      headers: { 'Content-Type': 'text/html; charset=utf-8', ...headersOf(fault) },
      body: notice(fault.code === 'not_found' ? 'Not found' : 'That did not work', fault.message, visitor?.frame).text,
    });
  }

  async #page(page: PageRoute, context: Context, params: Readonly<Record<string, string>>): Promise<void> {
    const scope = context.state.scope as RequestScope;
    scope.route = page.path;
    const { status = 200, body, type = 'text/html', headers = {}, cookies = [] } = await page.handle(this.#pageRequest(page, context, scope, params));
    for (const cookie of cookies) context.append('Set-Cookie', cookie);
    send(context, { status, headers: { 'Content-Type': `${type}; charset=utf-8`, ...headers }, body: typeof body === 'string' ? body : body.text });
  }

  #pageRequest({ timeoutMs = PAGE_TIMEOUT_MS }: PageRoute, context: Context, scope: RequestScope, params: Readonly<Record<string, string>>): PageRequest {
    const deadline = this.#clock.now() + timeoutMs;
    const callBy = (principal: Principal | null) =>
      new Call({ id: scope.callId, workspace: principal?.workspace ?? null, actor: principal?.actor ?? { kind: 'recipient', id: 'link' }, deadline, trace: scope.trace, signal: scope.left });
    return {
      method: context.method === 'HEAD' ? 'GET' : context.method,
      params,
      url: context.url,
      query: new URLSearchParams(context.querystring),
      headers: context.req.headers,
      address: scope.address,
      callId: scope.callId,
      form: async () => parseForm(await readBody(context.req, MAX_FORM_BYTES, callBy(null).signal), context.req.headers['content-type']),
      upload: () => uploadForm(context.req),
      identify: (principal) => {
        scope.principal = principal;
      },
      call: callBy,
    };
  }
}

/** Another method would do, or nothing is there at all. */
function notMatched(router: Router, context: Context): void {
  const methods = new Set(router.match(context.path, context.method).path.flatMap((layer) => layer.methods));
  if (methods.size === 0) throw new Fault('not_found', 'There is nothing at this address.', { reason: 'path_not_found' });
  const allow = [...methods].sort().join(', ');
  if (context.method !== 'OPTIONS') throw new Fault('invalid', `This address takes ${allow}.`, { reason: 'method_not_allowed', details: { allow } });
  context.set('Allow', allow);
  context.status = 204;
}
