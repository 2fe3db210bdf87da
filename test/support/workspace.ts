import type { Multilith } from './multilith.ts';

const ANSWER_MS = 60_000;
/** What a host answers whose neighbour is away, or has no time just now: it is asked again. */
const LATER = new Set([503, 504]);

/** A workspace of a running Multilith and a key with every right in it: the public API, as any program uses it. */
export class TestWorkspace {
  readonly url: string;
  readonly key: string;

  constructor(url: string, key: string) {
    this.url = url;
    this.key = key;
  }

  /** Takes the one-time link that the start printed, as the newcomer does, and makes a key. */
  static async create(multilith: Pick<Multilith, 'url' | 'output'>): Promise<TestWorkspace> {
    const link = /http:\S+\/setup\/\S+/.exec(multilith.output)?.[0];
    if (link === undefined) throw new Error(`no set-up link was printed:\n${multilith.output}`);
    const owner = new URLSearchParams({ email: 'owner@agency.example', password: 'correct horse battery', workspace: 'Agency' });
    const made = await fetch(link, { method: 'POST', body: owner, redirect: 'manual', signal: AbortSignal.timeout(ANSWER_MS) });
    const cookie = made.headers.getSetCookie()[0]?.split(';')[0];
    if (cookie === undefined) throw new Error(`the set-up answered ${made.status} without a session: ${await made.text()}`);
    const headers = { cookie, 'content-type': 'application/json', origin: multilith.url, 'sec-fetch-site': 'same-origin' };
    const body = JSON.stringify({ name: 'tests', scopes: ['ingest', 'read', 'write', 'admin'] });
    const reply = await fetch(`${multilith.url}/api/v1/api-keys`, { method: 'POST', headers, body, signal: AbortSignal.timeout(ANSWER_MS) });
    if (!reply.ok) throw new Error(`making a key was answered with ${reply.status}: ${await reply.text()}`);
    return new TestWorkspace(multilith.url, ((await reply.json()) as { secret: string }).secret);
  }

  // The tests say what they expect by what they read.
  async ask(method: string, path: string, body?: object, headers: Readonly<Record<string, string>> = {}): Promise<any> {
    const { ok, status, value } = await this.answer(method, path, body, headers);
    if (!ok) throw new Error(`${method} ${path} was answered with ${status}: ${JSON.stringify(value)}`);
    return value;
  }

  /** Whatever the answer is. */
  async answer(method: string, path: string, body?: object, headers: Readonly<Record<string, string>> = {}): Promise<{ ok: boolean; status: number; value: any }> {
    const response = await fetch(`${this.url}${path}`, {
      method,
      headers: { authorization: `Bearer ${this.key}`, ...(body && { 'content-type': 'application/json' }), ...headers },
      ...(body && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    const text = await response.text();
    return { ok: response.ok, status: response.status, value: /json/.test(response.headers.get('content-type') ?? '') ? JSON.parse(text) : text };
  }

  /** A published template; answers its id. */
  async template(content: { subject: string; body: string; format?: 'mjml' | 'html'; text?: string | null }): Promise<string> {
    const draft = { format: 'html', text: null, from: null, ...content };
    const { templateId } = await this.ask('POST', '/api/v1/templates', { name: draft.subject.slice(0, 50), draft });
    await this.ask('POST', `/api/v1/templates/${templateId}/publish`, {});
    return templateId;
  }

  /** An automation that is on: when the event happens, send the template. */
  async automation(event: string, templateId: string, over: object = {}): Promise<string> {
    const rule = { event, when: null, waitMs: 0, still: null, send: { templateId, channel: 'email' }, reentry: { kind: 'every_time' }, ...over };
    const { automationId, enabled } = await this.ask('POST', '/api/v1/automations', { name: `On ${event}`, rule });
    if (!enabled) await this.ask('POST', `/api/v1/automations/${automationId}/enable`, {});
    return automationId;
  }

  /** Events by the Segment wire; resolves when they are accepted. */
  async send(batch: readonly object[]): Promise<Response> {
    return fetch(`${this.url}/v1/batch`, {
      method: 'POST',
      headers: { authorization: `Basic ${Buffer.from(`${this.key}:`).toString('base64')}`, 'content-type': 'application/json' },
      body: JSON.stringify({ batch }),
      signal: AbortSignal.timeout(ANSWER_MS),
    });
  }

  /** Asks until the answer is as wished. Fails with the last answer after the deadline. */
  async until<T = any>(path: string, wished: (answer: any) => boolean, deadlineMs = 60_000): Promise<T> {
    for (const end = Date.now() + deadlineMs; ; ) {
      const { ok, status, value } = await this.answer('GET', path);
      if (ok && wished(value)) return value as T;
      if ((!ok && !LATER.has(status)) || Date.now() > end) throw new Error(`GET ${path} did not become as wished within ${deadlineMs} ms: ${status} ${JSON.stringify(value).slice(0, 2_000)}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
