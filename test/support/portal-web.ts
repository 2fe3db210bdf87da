import { createServer, request as httpRequest, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Setup } from '../../modules/portal/access/setup.ts';
import { portalModule } from '../../modules/portal/module.ts';
import { triggerModule } from '../../modules/trigger/module.ts';
import type { Clock } from '../../src/kernel/clock.ts';
import type { Log } from '../../src/kernel/telemetry.ts';
import type { Storage } from '../../src/ports/storage.ts';
import type { Blobs } from '../../src/ports/blob.ts';
import { composeForTest, type TestComposition } from './compose.ts';
import { NotificationStandIn, notificationStandIn } from './notification-stand-in.ts';

export const PUBLIC_URL = 'http://127.0.0.1:8080';
export const PASSWORD = 'correct horse battery';

export interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  // A test says what it expects by what it reads.
  readonly json: any;
}

export interface Ask {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** An object is sent as JSON. */
  readonly body?: unknown;
}

/** Portal with the real trigger behind a real HTTP server. */
export interface PortalWeb {
  readonly composition: TestComposition;
  readonly notification: NotificationStandIn;
  readonly port: number;
  ask(path: string, ask?: Ask): Promise<Reply>;
  /** Takes the set-up link; answers the owner's cookie and the first workspace's id. */
  setUp(): Promise<{ cookie: string; workspaceId: string }>;
  /** A key of that owner's with all scopes, or those given. */
  key(cookie: string, scopes?: readonly string[], workspaceId?: string): Promise<string>;
  close(): Promise<void>;
}

export async function startPortalWeb(options: { clock?: Clock; log?: Log; settings?: object; blobs?: Blobs; openStorage?: (module: string) => Storage } = {}): Promise<PortalWeb> {
  const composition = composeForTest({
    modules: [portalModule, triggerModule, notificationStandIn],
    ...(options.clock && { clock: options.clock }),
    ...(options.log && { log: options.log }),
    ...(options.blobs && { blobs: options.blobs }),
    ...(options.openStorage && { openStorage: options.openStorage }),
    settings: { portal: options.settings ?? {} },
  });
  await composition.start();
  const server: Server = createServer((request, response) => {
    if (!composition.http.some((surface) => surface.handle(request, response))) response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const ask = (path: string, wanted: Ask = {}) => askServer(port, path, wanted);
  return {
    composition,
    notification: composition.part('notification', NotificationStandIn),
    port,
    ask,
    async setUp() {
      const link = await composition.part('portal', Setup).pendingLink();
      const reply = await ask(link!.slice(PUBLIC_URL.length), { method: 'POST', ...form({ email: 'owner@example.com', password: PASSWORD, workspace: 'First' }) });
      const cookie = cookieOf(reply);
      const { json } = await ask('/api/v1/session', { headers: { cookie } });
      return { cookie, workspaceId: json.workspaceId as string };
    },
    async key(cookie, scopes = ['ingest', 'read', 'write', 'admin'], workspaceId) {
      const { json } = await ask('/api/v1/api-keys', { method: 'POST', headers: { ...fromOurPage(cookie), ...(workspaceId && { 'Multilith-Workspace': workspaceId }) }, body: { name: 'test', scopes } });
      return json.secret as string;
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await composition.dispose();
    },
  };
}

export function bearer(secret: string): Record<string, string> {
  return { Authorization: `Bearer ${secret}` };
}

/** What a browser adds when a page of ours sends something. */
export function fromOurPage(cookie: string): Record<string, string> {
  return { cookie, 'Sec-Fetch-Site': 'same-origin', Origin: PUBLIC_URL };
}

export function form(fields: Readonly<Record<string, string>>): { body: string; headers: Record<string, string> } {
  return { body: new URLSearchParams(fields).toString(), headers: { 'Content-Type': 'application/x-www-form-urlencoded' } };
}

/** The first cookie that the answer sets, as the browser sends it back. */
export function cookieOf(reply: Reply): string {
  return reply.headers['set-cookie']![0]!.split(';')[0]!;
}

/** node:http and not fetch: fetch refuses to send some of what must be tried. */
function askServer(port: number, path: string, { method = 'GET', headers = {}, body }: Ask): Promise<Reply> {
  const raw = body === undefined || typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body);
  const type = raw === undefined || raw === body ? {} : { 'Content-Type': 'application/json' };
  return new Promise((resolve, reject) => {
    const sent = httpRequest({ host: '127.0.0.1', port, path, method, headers: { ...type, ...(raw === undefined ? {} : { 'Content-Length': Buffer.byteLength(raw as string) }), ...headers }, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        resolve({ status: response.statusCode!, headers: response.headers, text, json: /[/+]json/.test(response.headers['content-type'] ?? '') ? JSON.parse(text) : undefined });
      });
      response.on('error', reject);
    });
    sent.on('error', reject);
    sent.end(raw as string | Uint8Array | undefined);
  });
}
