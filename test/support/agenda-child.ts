import type { Transaction } from '../../src/ports/storage.ts';
import { systemClock } from '../../src/kernel/clock.ts';
import { toFault } from '../../src/kernel/fault.ts';
import type { TriggerTables } from '../../modules/trigger/tables.ts';
import { TriggerRig } from './trigger-rig.ts';

/*
 * Trigger in a process of its own, for tests that freeze it in the middle of firing: `agenda-child.js <dataDir>`. The
 * first transaction that asks for a send stands still before its end until any message comes.
 */
export type AgendaChildWord =
  | { readonly say: 'ready' | 'inside' }
  /** How a transaction that asked for sends ended. */
  | { readonly say: 'ended'; readonly as: string }
  /** A transaction that found nothing to ask for was committed. */
  | { readonly say: 'looked' };

const tell = (word: AgendaChildWord): boolean => process.send!(word);
const go = new Promise<void>((resolve) => process.once('message', () => resolve()));

const rig = new TriggerRig({
  dataDir: process.argv[2]!,
  clock: systemClock,
  around: (store) => ({
    db: store.db,
    capabilities: store.capabilities,
    run: store.run,
    scan: store.scan,
    lists: store.lists,
    async transaction(work, options) {
      let asks = false;
      const noticing = (tx: Transaction<TriggerTables>): Transaction<TriggerTables> => ({
        db: tx.db,
        position: tx.position,
        run: tx.run,
        runMany: tx.runMany,
        publish(...message) {
          asks = true;
          return tx.publish(...message);
        },
      });
      try {
        const result = await store.transaction(async (tx) => {
          const done = await work(noticing(tx));
          if (asks) {
            tell({ say: 'inside' });
            await go;
          }
          return done;
        }, options);
        tell(asks ? { say: 'ended', as: 'committed' } : { say: 'looked' });
        return result;
      } catch (thrown) {
        tell({ say: 'ended', as: toFault(thrown).code });
        throw thrown;
      }
    },
  }),
});
await rig.start();
tell({ say: 'ready' });
