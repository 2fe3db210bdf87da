import 'reflect-metadata';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext as Test } from 'node:test';
import { busDrivers } from '../../adapters/bus/catalog.ts';
import { channelDrivers } from '../../adapters/channel/catalog.ts';
import { parts } from '../../src/app/parts.ts';
import { busSharing } from '../../src/app/host/bus-sharing.ts';
import { fabricMigrations } from '../../src/fabric/tables.ts';
import type { DriverContext } from '../../src/kernel/driver.ts';
import type { Lifecycle } from '../../src/kernel/lifecycle.ts';
import type { Bus } from '../../src/ports/bus.ts';
import type { Migration, Storage } from '../../src/ports/storage.ts';
import { ActiveMqServer } from '../support/activemq.ts';
import { sqliteAt } from '../support/buses.ts';
import { testContext, type TestContext } from '../support/context.ts';
import { fingerprintsOf, problemsWith, type Fingerprints } from './released-migrations.ts';

const released = JSON.parse(readFileSync(join(import.meta.dirname, '..', '..', '..', 'test', 'arch', 'released-migrations.json'), 'utf8')) as Readonly<Record<string, Fingerprints>>;

type Needs = DriverContext & { readonly name: string; readonly openStorage: (name: string) => Storage };
type Adapter = `bus ${keyof typeof busDrivers}` | `channel ${keyof typeof channelDrivers}`;

/** Whoever may have a database of its own; a driver in a catalog without its line here is a compile error. */
const ADAPTERS: Readonly<Record<Adapter, (needs: Needs) => Lifecycle>> = {
  'bus activemq': withBroker,
  'bus embedded': (needs) => busDrivers.embedded.create(busDrivers.embedded.settings.parse({}), needs),
  'channel outbox': (needs) => channelDrivers.outbox.create(channelDrivers.outbox.settings.parse({}), needs),
  'channel smtp': (needs) => channelDrivers.smtp.create(channelDrivers.smtp.settings.parse({ host: '127.0.0.1' }), needs),
};

/** It opens its storage once it holds the office at a broker. */
function withBroker(needs: Needs): Lifecycle {
  let broker: ActiveMqServer | undefined;
  let bus: Bus | undefined;
  return {
    async start() {
      broker = await ActiveMqServer.start();
      bus = busDrivers.activemq.create(busDrivers.activemq.settings.parse({ port: broker.port }), { ...needs, sharing: busSharing(needs) });
      await bus.start();
    },
    async stop(deadlineMs) {
      await bus?.stop(deadlineMs);
      await broker?.remove();
    },
  };
}

function placeOf(t: Test): TestContext {
  const place = testContext();
  t.after(() => place.remove());
  return place;
}

/** What an adapter hands to the storage that it opens. */
async function migrationsOf(t: Test, create: (needs: Needs) => Lifecycle): Promise<Migration[]> {
  const place = placeOf(t);
  const given: Migration[] = [];
  const openStorage = (name: string): Storage => {
    const storage = sqliteAt(place)(name);
    const migrate = storage.migrate.bind(storage);
    storage.migrate = (migrations) => {
      given.push(...migrations);
      return migrate(migrations);
    };
    return storage;
  };
  const adapter = create({ ...place, name: 'email', openStorage });
  await adapter.start();
  await adapter.stop(5_000);
  return given;
}

async function printed(t: Test, migrations: readonly Migration[]): Promise<Fingerprints> {
  const storage = sqliteAt(placeOf(t))('empty');
  await storage.start();
  try {
    return await fingerprintsOf(migrations, storage);
  } finally {
    await storage.stop(1_000);
  }
}

describe('released migrations', () => {
  it('make what they made when they were released, and new ones are recorded', async (t) => {
    const owned: [string, readonly Migration[]][] = [['fabric', fabricMigrations]];
    for (const { name, migrations } of parts.modules) owned.push([`module ${name}`, migrations]);
    for (const [name, create] of Object.entries(ADAPTERS)) owned.push([name, await migrationsOf(t, create)]);

    const problems: string[] = [];
    for (const [owner, migrations] of owned) problems.push(...problemsWith(owner, await printed(t, migrations), released[owner] ?? {}));
    const owners = new Set(owned.map(([owner]) => owner));
    for (const owner of Object.keys(released)) if (!owners.has(owner)) problems.push(`${owner}: is recorded in test/arch/released-migrations.json, but this build has no such part.`);
    assert.deepEqual(problems, [], `\n${problems.join('\n')}\n`);
  });

  it('that change, vanish or are new are each told by name', async (t) => {
    const table = (name: string, ...columns: string[]): Migration => ({
      name,
      up: (db) => columns.reduce((made, column) => made.addColumn(column, 'text'), db.schema.createTable(name)).execute(),
    });
    const record = await printed(t, [table('one', 'id'), table('two', 'id')]);
    const problems = async (...migrations: Migration[]) => problemsWith('module m', await printed(t, migrations), record).map((problem) => problem.replace(/\b(one|two|three)\b.*?(changed|gone|new)\b.*/, '$1 $2'));
    assert.deepEqual(await problems(table('one', 'id'), table('two', 'id')), []);
    assert.deepEqual(await problems(table('one', 'id', 'more'), table('two', 'id')), ['module m: what the released migration one changed']);
    assert.deepEqual(await problems(table('one', 'id'), table('two', 'name')), ['module m: what the released migration two changed']);
    assert.deepEqual(await problems(table('two', 'id'), table('one', 'id')), ['module m: what the released migration two changed']);
    assert.deepEqual(await problems(table('one', 'id')), ['module m: the released migration two gone']);
    assert.deepEqual(await problems(table('one', 'id'), table('two', 'id'), table('three', 'id')), ['module m: the migration three new']);
  });
});
