import { Target } from '../../fabric/target.ts';
import type { KeptStorages, ModuleMove } from '../host/kept-storages.ts';
import { type Moves, type StorageAccess, storageContract } from './storage-contract.ts';

/** The inside of a thread as its host asks it to move the module's data. */
export function storageTarget(storages: KeptStorages, module: string): Target {
  const answer = (moves: readonly ModuleMove[]) => ({ moves: moves as unknown as Moves['moves'] });
  const access: StorageAccess = {
    look: async () => answer(storages.progress),
    move: async ({ topology, reads }) => answer(storages.move(topology, [module], reads)),
    back: async () => answer(await storages.back([module])),
    finish: async () => answer(await storages.finish([module])),
  };
  const target = new Target(storageContract);
  target.serve(access);
  return target;
}
