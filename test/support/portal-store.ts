import { portalMigrations } from '../../modules/portal/migrations.ts';
import { eventRecorded, personChanged, templatePublished } from '../../modules/portal/contract.ts';
import { erasePerson } from '../../modules/portal/people/erasure.ts';
import { settleSegment } from '../../modules/portal/segments/settle-handler.ts';
import type { Tables } from '../../modules/portal/tables.ts';
import { OutboxStore } from '../../src/fabric/outbox.ts';
import { type FabricTables, fabricMigrations } from '../../src/fabric/tables.ts';
import type { Clock } from '../../src/kernel/clock.ts';
import type { Storage } from '../../src/ports/storage.ts';
import { testContext } from './context.ts';
import { moduleStorage } from './module-storage.ts';

export interface PortalStore {
  readonly store: OutboxStore<Tables>;
  /** What has been published and not carried away: nothing carries it here. */
  published(name: string): Promise<unknown[]>;
  close(): Promise<void>;
}

/** Portal's own database with its outbox, real and empty, in a folder of its own, or as another process of `dataDir` sees it. */
export async function openPortalStore(clock: Clock, dataDir?: string): Promise<PortalStore> {
  const context = testContext({ clock, ...(dataDir === undefined ? {} : { dataDir }) });
  const storage: Storage<Tables> = moduleStorage(context, 'portal');
  await storage.start();
  await storage.migrate([...fabricMigrations, ...portalMigrations]);
  const publishes = new Set([eventRecorded, personChanged, templatePublished, erasePerson, settleSegment].map((message) => message.name));
  return {
    store: new OutboxStore(storage, { module: 'portal', publishes, strict: true, clock }, () => {}),
    async published(name) {
      const rows = await (storage as unknown as Storage<FabricTables>).db.selectFrom('fabric_outbox').select('payload').where('name', '=', name).orderBy('seq').execute();
      return rows.map((row) => JSON.parse(row.payload) as unknown);
    },
    async close() {
      await storage.stop(1_000);
      context.remove();
    },
  };
}
