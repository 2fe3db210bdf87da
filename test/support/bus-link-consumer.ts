import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import type { TestContext as Test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { within } from './buses.ts';
import type { LinkChildPlan } from './bus-link-child.ts';

const CHILD = fileURLToPath(new URL('bus-link-child.js', import.meta.url));

interface Told {
  readonly kind: 'begin' | 'end';
  readonly id: string;
  readonly attempt: number;
}

/** A consuming process and what it has told; ends with the test. */
export class Consuming {
  readonly told: Told[] = [];
  readonly child: ChildProcess;
  readonly ended: Promise<unknown>;
  #waiting: (() => void)[] = [];

  constructor(t: Test, plan: LinkChildPlan) {
    this.child = fork(CHILD, [JSON.stringify(plan)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    this.ended = once(this.child, 'exit');
    this.child.on('message', (told: Told) => {
      this.told.push(told);
      for (const wake of this.#waiting.splice(0)) wake();
    });
    t.after(async () => {
      this.child.kill('SIGKILL');
      await this.ended;
    });
  }

  ids(kind: Told['kind']): string[] {
    return this.told.filter((told) => told.kind === kind).map(({ id }) => id);
  }

  async until(holds: () => boolean, withinMs: number): Promise<void> {
    await within(withinMs, (async () => { while (!holds()) await new Promise<void>((resolve) => this.#waiting.push(resolve)); })(), () => `told: ${JSON.stringify(this.told.slice(-5))}`);
  }
}
