import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext as Test, test } from 'node:test';
import { rpc } from '../../adapters/transport/rpc/transport.ts';
import { Call } from '../../src/kernel/call.ts';
import { deadlines } from '../../src/kernel/deadline.ts';
import { newId } from '../../src/kernel/ids.ts';
import { Edge } from '../../src/fabric/edge.ts';
import { bindRemote } from '../../src/fabric/remote.ts';
import { Replicas } from '../../src/fabric/replicas.ts';
import { silentLog } from '../support/context.ts';
import { type Till, till } from '../support/till.ts';

const CALLERS = 16;

class Rig {
  readonly edge = new Edge();
  readonly sockets: readonly string[];
  readonly replicas = new Replicas({
    host: 'till',
    contracts: [till],
    newLink: (socketPath) => rpc.link({ introduction: { host: 'caller', process: 'caller', contracts: {} }, offers: [], secret: null }, { at: { socketPath } }),
    log: silentLog,
  });
  readonly stub: Till = bindRemote(till, this.replicas, this.edge);
  readonly #children = new Map<string, ChildProcess>();
  /** By process. */
  readonly answers = new Map<string, number>();
  readonly failures: string[] = [];

  constructor(t: Test, processes: number) {
    const folder = mkdtempSync(join(tmpdir(), 'till-'));
    this.sockets = Array.from({ length: processes }, (_, at) => join(folder, `${at}`));
    t.after(async () => {
      await this.replicas.stop(1_000);
      for (const child of this.#children.values()) child.kill('SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    });
  }

  async startAll(): Promise<void> {
    await Promise.all(this.sockets.map((socket) => this.start(socket)));
    this.replicas.update(this.sockets);
    while (this.replicas.states().some(({ state }) => state !== 'open') || !this.replicas.ready) await new Promise<void>((resolve) => this.replicas.patience.onceChanged(resolve));
  }

  async start(socket: string): Promise<void> {
    const child = spawn(process.execPath, [join(import.meta.dirname, '../support/till.js'), socket], { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#children.set(socket, child);
    await once(child.stdout!, 'data');
  }

  async end(socket: string, signal: NodeJS.Signals): Promise<void> {
    const child = this.#children.get(socket)!;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
    if (signal === 'SIGKILL') rmSync(socket, { force: true });
  }

  /** Queries and commands with a key, by turns, until told to stop. */
  load(): () => Promise<void> {
    let on = true;
    const callers = Array.from({ length: CALLERS }, async (_, caller) => {
      for (let n = caller; on; n += CALLERS) {
        const method = n % 3 === 0 ? 'pay' : 'look';
        const call = new Call({ workspace: 'w1', actor: { kind: 'user', id: 'u1' }, deadline: Date.now() + 10_000, idempotencyKey: newId() });
        await this.stub[method]({ n }, call).then(
          (answer) => {
            assert.equal(answer.n, n);
            this.answers.set(answer.process, (this.answers.get(answer.process) ?? 0) + 1);
          },
          (thrown: unknown) => void this.failures.push(`${method} ${n}: ${String(thrown)}`),
        );
      }
    });
    return async () => {
      on = false;
      await Promise.all(callers);
    };
  }

  get answered(): number {
    return [...this.answers.values()].reduce((sum, count) => sum + count, 0);
  }

  /** Until so many processes have answered. */
  async heardOf(processes: number): Promise<void> {
    const until = performance.now() + 60_000;
    while (this.answers.size < processes && performance.now() < until) await new Promise(setImmediate);
    assert.equal(this.answers.size, processes);
  }

  async more(calls: number): Promise<void> {
    const until = this.answered + calls;
    while (this.answered < until && this.failures.length === 0) await new Promise(setImmediate);
  }
}

for (const [what, processes, signal] of [
  ['three processes of a host, each stopped and started in turn', 3, 'SIGTERM'],
  ['the only process of a host, stopped and started', 1, 'SIGTERM'],
  ['three processes of a host, each killed and started in turn', 3, 'SIGKILL'],
] as const) {
  test(`${what}, under load: no call fails`, async (t) => {
    const rig = new Rig(t, processes);
    await rig.startAll();
    const stopLoad = rig.load();
    for (const [at, socket] of rig.sockets.entries()) {
      await rig.heardOf(processes + at);
      await rig.more(500);
      await rig.end(socket, signal);
      if (processes > 1) await rig.more(200);
      await rig.start(socket);
    }
    await rig.heardOf(2 * processes);
    await stopLoad();
    assert.deepEqual(rig.failures, []);
    t.diagnostic(`${rig.answered} calls, ${rig.edge.figures().retried} tried again`);
    assert.equal(rig.edge.figures().failed, 0);
    assert.deepEqual([deadlines.size, rig.replicas.states().reduce((sum, { pending }) => sum + pending, 0)], [0, 0]);
  });
}
