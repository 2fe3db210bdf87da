import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { sql } from 'kysely';
import { storageDrivers } from '../../../adapters/storage/catalog.ts';
import { DeliveryQueries, type DeliveryFilter } from '../../../modules/notification/deliveries/delivery-queries.ts';
import { migrations } from '../../../modules/notification/migrations.ts';
import type { NotificationTables } from '../../../modules/notification/tables.ts';
import { OutboxStore } from '../../../src/fabric/outbox.ts';
import { fabricMigrations } from '../../../src/fabric/tables.ts';
import type { Storage } from '../../../src/ports/storage.ts';
import { testContext } from '../../support/context.ts';
import { longestTurn } from '../../support/longest-turn.ts';

const ROWS = 60_000;
/** Of a workspace whose every page is read. */
const FEW = 3_000;

/** `ada` has every other delivery; `rare` is the state or source of the four oldest and of every 20,000th. */
const fill = (workspace: string, rows: number) => sql`
  with recursive n(i) as (select 0 union all select i + 1 from n where i < ${sql.lit(rows - 1)})
  insert into deliveries (workspace, id, person_id, channel, template_id, source_kind, source_id, source_version, run_id, event_id, state, message_id, may_be_repeated, tries, attempts, created_at, updated_at)
  select ${sql.lit(workspace)}, printf('d%08d', i), case i % 2 when 0 then 'ada' else 'eve' end, 'email', 't1', 'automation', case when i < 4 or i % 20000 = 0 then 'rare' else 'a1' end, 1, 'r', 'e',
    case when i < 4 or i % 20000 = 0 then 'failed' else 'sent' end, 'm', 0, 0, '[]', 1000 + i / 3, 0 from n`;

describe('a list of deliveries', () => {
  const context = testContext();
  const storage: Storage<NotificationTables> = storageDrivers.sqlite.create(storageDrivers.sqlite.settings.parse({}), { ...context, name: 'notification' });
  let queries: DeliveryQueries;
  before(async () => {
    await storage.start();
    await storage.migrate([...fabricMigrations, ...migrations]);
    for (const [workspace, rows] of [['w1', ROWS], ['w2', FEW]] as const) await storage.transaction((tx) => fill(workspace, rows).execute(tx.db), { timeoutMs: 60_000 });
    queries = new DeliveryQueries(new OutboxStore(storage, { module: 'notification', publishes: new Set(), strict: true, clock: context.clock }, () => {}));
  });
  after(async () => {
    await storage.stop(1_000);
    context.remove();
  });

  async function pages(filter: Omit<DeliveryFilter, 'after'>, workspace = 'w1'): Promise<string[][]> {
    const all: string[][] = [];
    let next: string | null = null;
    do {
      const page: Awaited<ReturnType<DeliveryQueries['list']>> = await queries.list(workspace, { ...filter, after: next ?? undefined });
      all.push(page.items.map(({ deliveryId }) => deliveryId));
      next = page.next;
    } while (next !== null);
    return all;
  }
  const idsOf = (...numbers: number[]) => numbers.map((i) => `d${String(i).padStart(8, '0')}`);

  for (const [filter, expected] of [
    [{ state: 'failed', sourceId: 'rare' }, [40_000, 20_000, 3, 2, 1, 0]],
    [{ state: 'failed', sourceId: 'a1' }, []],
    [{ personId: 'ada', sourceId: 'rare' }, [40_000, 20_000, 2, 0]],
    [{ personId: 'eve', state: 'failed' }, [3, 1]],
    [{ personId: 'eve', sourceId: 'rare', state: 'failed' }, [3, 1]],
    [{ personId: 'eve', sourceId: 'rare', state: 'sent' }, []],
  ] as const) {
    it(`of ${Object.keys(filter).join(' and ')} finds what is rare in short turns and a bounded number of pages`, async (t) => {
      const turn = longestTurn(t);
      const found = await pages({ ...filter, limit: 2 });
      assert.deepEqual(found.flat(), idsOf(...expected));
      assert.ok(found.every((page) => page.length <= 2));
      assert.ok(found.length <= ROWS / 30_000 + expected.length, `${found.length} pages`);
      assert.ok(turn.ms() < 50, `one turn of ${turn.ms()} ms`);
    });
  }

  it('of any filters has every delivery once, newest first, in full pages where one filter is enough', async () => {
    for (const filter of [{}, { sourceId: 'rare' }, { state: 'failed' }] as const) {
      const found = await pages({ ...filter, limit: 200 }, 'w2');
      const ids = found.flat();
      assert.equal(ids.length, 'sourceId' in filter || 'state' in filter ? 4 : FEW);
      assert.deepEqual(ids, [...new Set(ids)].sort().reverse());
      assert.ok(found.slice(0, -1).every((page) => page.length === 200));
    }
    assert.equal((await pages({ personId: 'ada', state: 'sent', sourceId: 'a1', limit: 200 }, 'w2')).flat().length, FEW / 2 - 2);
    assert.deepEqual((await pages({ sourceId: 'rare', limit: 4 }, 'w2')).map((page) => page.length), [4], 'no empty page at the end');
  });
});
