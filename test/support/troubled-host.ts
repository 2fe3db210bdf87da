import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach } from 'node:test';
import { requireConfig } from '../../src/app/config/config.ts';
import { Host } from '../../src/app/host/host.ts';
import type { HostLog } from '../../src/app/host/log.ts';
import type { Log } from '../../src/kernel/telemetry.ts';
import { troubledParts } from './troubled.ts';

const root = mkdtempSync(join(tmpdir(), 'multilith-thread-'));
after(() => rmSync(root, { recursive: true, force: true }));
const running: Host[] = [];
afterEach(async () => {
  await Promise.allSettled(running.splice(0).map((host) => host.stop(5_000)));
});

interface Line {
  readonly level: string;
  readonly message: string;
  readonly [field: string]: unknown;
}

/** A host with `troubled` on a thread, unless `sets` say otherwise, and what it logs. Stopped after the test. */
export class TroubledHost {
  static readonly root = root;
  readonly host: Host;
  /** The file that each thread runs. */
  readonly entry = new URL(troubledParts.thread!);
  readonly dataDir = mkdtempSync(join(root, 'data-'));
  readonly lines: Line[] = [];

  constructor(...sets: string[]) {
    this.host = this.#hostOf('app', sets);
  }

  /** Another host of the same topology, not started. */
  beside(name: string, ...sets: string[]): Host {
    return this.#hostOf(name, sets);
  }

  #hostOf(name: string, sets: readonly string[]): Host {
    const all = ['hosts.app.modules=[front, troubled, gate]', 'calls.troubled.via=thread', 'threads.heapMb=64', 'http.listen=127.0.0.1:0', 'publicUrl=http://127.0.0.1', `data=${this.dataDir}`, ...sets];
    const { config } = requireConfig({ topology: 'default', env: {}, cwd: root, sets: all }, troubledParts);
    const host = new Host(config, name, { ...troubledParts, thread: this.entry }, this.#log());
    running.push(host);
    return host;
  }

  static async start(...sets: string[]): Promise<TroubledHost> {
    const made = new TroubledHost(...sets);
    await made.host.start();
    return made;
  }

  async until(done: () => boolean, withinMs = 40_000): Promise<void> {
    for (const until = Date.now() + withinMs; !done(); await new Promise((resolve) => setTimeout(resolve, 20))) {
      assert.ok(Date.now() < until, `not in ${withinMs} ms; the log: ${JSON.stringify(this.lines.slice(-5))}`);
    }
  }

  async get(path: string): Promise<{ readonly status: number; readonly body: any; readonly ms: number }> {
    const began = performance.now();
    const response = await fetch(`${this.host.localUrl}/${path}`);
    const text = await response.text();
    return { status: response.status, body: text.startsWith('{') ? JSON.parse(text) : text, ms: performance.now() - began };
  }

  ask(method: string, request: object = {}) {
    return this.get(`${method}?${encodeURIComponent(JSON.stringify(request))}`);
  }

  /** Asks for pages until `done`, and insists that they are answered, promptly. */
  async pagesUntil(done: () => Promise<boolean>, withinMs = 40_000): Promise<void> {
    const times: number[] = [];
    for (const until = Date.now() + withinMs; !(await done()); ) {
      assert.ok(Date.now() < until, `not in ${withinMs} ms; the log: ${JSON.stringify(this.lines.slice(-5))}`);
      for (const path of ['livez', 'page', 'readyz']) {
        const { status, ms } = await this.get(path);
        assert.equal(status, 200, path);
        times.push(ms);
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    // A machine with other things to do delays some.
    const [usual, longest] = [times.toSorted((a, b) => a - b)[Math.floor(times.length * 0.9)] ?? 0, Math.max(...times, 0)];
    assert.ok(usual < PROMPT_MS && longest < 10 * PROMPT_MS, `nine in ten within ${usual} ms, the longest ${longest} ms`);
  }

  /** Until the module answers calls again. On a busy machine that is long after its thread has begun. */
  async answersAgain(): Promise<void> {
    await this.pagesUntil(async () => this.line(AGAIN) !== undefined && (await this.ask('marks')).status === 200);
  }

  line(message: string): Line | undefined {
    return this.lines.find((line) => line.message === message);
  }

  #log(): HostLog {
    const at = (level: string, always: object) => (fields: object, message: string) => void this.lines.push({ level, message, ...always, ...fields });
    const withFields = (always: object): Log => ({ debug: at('debug', always), info: at('info', always), warn: at('warn', always), error: at('error', always), child: (fields) => withFields({ ...always, ...fields }) });
    return { ...withFields({}), flush() {} };
  }
}

/** The log's words for a thread that has ended, and for the one after it. */
export const BROKEN = 'the thread of a module has ended; it is started again';
export const AGAIN = 'the module runs again on a new thread';
const PROMPT_MS = 200;
