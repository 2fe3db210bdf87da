import { BootProblem } from '../../app/host/boot-problem.ts';

const ANSWER_MS = 30_000;

/** The public API, as any program uses it. */
export class Api {
  readonly #url: string;
  readonly #key: string;

  constructor(url: string, key: string) {
    this.#url = url;
    this.#key = key;
  }

  get<T>(path: string): Promise<T> {
    return this.#ask('GET', path, undefined, { authorization: `Bearer ${this.#key}` });
  }

  post<T>(path: string, body: object): Promise<T> {
    return this.#ask('POST', path, body, { authorization: `Bearer ${this.#key}` });
  }

  put<T>(path: string, body: object): Promise<T> {
    return this.#ask('PUT', path, body, { authorization: `Bearer ${this.#key}` });
  }

  /** Events by the Segment wire; waits and tries again where the server asks for it. */
  async send(batch: readonly object[]): Promise<void> {
    await this.#ask('POST', '/v1/batch', { batch }, { authorization: `Basic ${Buffer.from(`${this.#key}:`).toString('base64')}` });
  }

  async #ask<T>(method: string, path: string, body: object | undefined, headers: Readonly<Record<string, string>>): Promise<T> {
    for (let tries = 1; ; tries++) {
      const response = await fetch(`${this.#url}${path}`, { method, headers: { ...headers, ...(body && { 'content-type': 'application/json' }) }, ...(body && { body: JSON.stringify(body) }), signal: AbortSignal.timeout(ANSWER_MS) }).catch((error: unknown) => {
        throw new BootProblem(`${this.#url} does not answer any more.`, 'Start the server again (npm start), then the demo: it goes on where it was.', error);
      });
      const text = await response.text();
      if (response.ok) return (text === '' ? undefined : JSON.parse(text)) as T;
      if (tries === 5 || ![429, 503].includes(response.status)) throw new BootProblem(`${method} ${path} was answered with ${response.status}: ${text.slice(0, 500)}`, 'The log of the server may say more.');
      await new Promise((resolve) => setTimeout(resolve, 1_000 * Number(response.headers.get('retry-after') ?? 1)));
    }
  }
}
