import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { TestContext as Test } from 'node:test';
import { newId } from '../../src/kernel/ids.ts';
import { within } from './buses.ts';
import type { RegistryChildPlan, RegistryChildWord } from './registry-child.ts';

/** The process of registry-child.ts as its tests see it. */
export interface RegistryChild {
  readonly id: string;
  /** The next word that looks so. */
  until(looks: (word: RegistryChildWord) => boolean): Promise<RegistryChildWord>;
  kill(signal: NodeJS.Signals): void;
}

export async function registryChild(t: Test, settings: object, office: string): Promise<RegistryChild> {
  const id = newId();
  const plan: RegistryChildPlan = { settings, office, process: id };
  const child = fork(join(import.meta.dirname, 'registry-child.js'), [JSON.stringify(plan)], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  const ended = once(child, 'exit');
  t.after(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  return {
    id,
    kill: (signal) => void child.kill(signal),
    until(looks) {
      const said = new Promise<RegistryChildWord>((resolve) => {
        const listen = (word: RegistryChildWord): void => {
          if (!looks(word)) return;
          child.off('message', listen);
          resolve(word);
        };
        child.on('message', listen);
      });
      return within(15_000, said, () => 'the child never said so');
    },
  };
}
