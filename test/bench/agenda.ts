import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { statement } from '../../src/ports/storage.ts';
import { plan, soonest } from '../../modules/trigger/agenda/agenda-statements.ts';
import { Firing } from '../../modules/trigger/agenda/firing.ts';
import { VersionRules } from '../../modules/trigger/rules/version-rules.ts';
import type { TriggerTables } from '../../modules/trigger/tables.ts';
import { TriggerRig, WORKSPACE, person } from '../support/trigger-rig.ts';
import { FakeClock } from '../support/fake-clock.ts';
import type { BenchRow } from './report.ts';

const ROWS = 1_000_000;
const PER_TRANSACTION = 2_000;
const DUE = 100;
const LOOKS = 2_000;
const BATCHES = 200;
const EVENTS = 2_000;
const ROUNDS = 5;
const IN_FLIGHT = 100;

const due = statement<TriggerTables, { now: number; limit: number }>()((db, p) =>
  db.selectFrom('agenda').selectAll().where('due', '<=', p('now')).orderBy('due').orderBy('run_id').limit(p('limit')),
);

/** A million things that will happen: what it costs to find, to do and to plan some of them, durably. */
export async function benchAgenda(): Promise<BenchRow[]> {
  const clock = new FakeClock();
  const rig = await new TriggerRig({ clock, storage: { durability: 'power-loss' }, strict: false }).start();
  const waiting = await rig.save({ waitMs: 86_400_000, event: 'later' });
  await rig.save({});
  await rig.agenda.stop(1_000);
  const start = clock.now() + 1;
  const planSeconds = await fill(rig, waiting.automationId, start);
  const now = start + DUE - 1;

  const bare = new DatabaseSync(join(rig.dataDir, 'trigger.sqlite'));
  const bareDue = bare.prepare('select * from agenda where due <= ? order by due, run_id limit ?');
  const find: number[] = [];
  const findBare: number[] = [];
  const next: number[] = [];
  for (let i = 0; i < LOOKS; i++) {
    find.push(await microseconds(async () => expectRows((await rig.store.run(due, { now, limit: DUE })).length)));
    findBare.push(await microseconds(async () => expectRows(bareDue.all(BigInt(now), BigInt(DUE)).length)));
    next.push(await microseconds(async () => expectRows((await rig.store.run(soonest, {})).length * DUE)));
  }
  bare.close();

  const firing = new Firing(new VersionRules(rig.store));
  const fireUs = await cpuMicroseconds(async () => {
    for (let i = 1; i <= BATCHES; i++) await rig.store.transaction((tx) => firing.fire(tx, start + i * DUE - 1, DUE));
  });
  const passUs = await enterEvents(rig, 'nothing');
  const enterUs = await enterEvents(rig, 'signed up');
  const waitUs = await enterEvents(rig, 'later');
  await rig.dispose();
  return [
    { name: 'agenda.100-due-of-1M-found', value: median(find) / 1_000, unit: 'ms', aim: 0.1, better: 'lower', limit: median(findBare) / 1_000, note: 'limit: the bare prepared statement' },
    { name: 'agenda.next-due-of-1M', value: median(next), unit: 'µs', aim: 10, better: 'lower' },
    { name: 'agenda.fired', value: fireUs / (BATCHES * DUE), unit: 'µs CPU/row', note: 'taken, decided, counted, send requested and fsynced, 100 a transaction, of 1M' },
    { name: 'agenda.planned', value: ROWS / planSeconds, unit: 'rows/s', note: `with three indexes, ${PER_TRANSACTION} a transaction` },
    { name: 'trigger.event-to-send-request', value: enterUs, unit: 'µs CPU/event', aim: 60, better: 'lower', note: `${IN_FLIGHT} in flight, fsynced, inbox and outbox included` },
    { name: 'trigger.event-to-agenda', value: waitUs, unit: 'µs CPU/event', note: 'the same, among 1M' },
    { name: 'trigger.event-that-fits-nothing', value: passUs, unit: 'µs CPU/event', note: 'inbox, and a look at the person' },
  ];
}

async function fill(rig: TriggerRig, automationId: string, start: number): Promise<number> {
  const began = performance.now();
  for (let from = 0; from < ROWS; from += PER_TRANSACTION) {
    await rig.store.transaction(async (tx) => {
      for (let i = from; i < from + PER_TRANSACTION; i++) {
        // As events come one after the other, for three automations with waits of their own.
        await tx.run(plan, {
          due: start + (i % 3) * Math.floor(ROWS / 3) + Math.floor(i / 3),
          run_id: `0190a1b2-0000-8000-8000-${String(i).padStart(12, '0')}`,
          workspace: WORKSPACE,
          automation_id: automationId,
          version: 1,
          epoch: 1,
          person_id: `p${i % 100_000}`,
          event_id: `e${i}`,
          event_at: start,
          event: '{"policy":"P-1234","amount":120}',
        });
      }
    });
  }
  await rig.store.transaction(async (tx) => {
    await tx.db.updateTable('automations').set({ entered: ROWS, waiting: ROWS }).where('id', '=', automationId).execute();
  });
  return (performance.now() - began) / 1_000;
}

/** CPU time, since others use the machine, too: the median of some rounds. */
async function enterEvents(rig: TriggerRig, name: string): Promise<number> {
  const rounds: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    let number = 0;
    const worker = async (): Promise<void> => {
      for (let i = number++; i < EVENTS; i = number++) {
        const properties = { policy: `P-${i}`, amount: i };
        await rig.event({ eventId: `${name}-${round}-${i}`, name, properties, person: person(`q${i % 1_000}`, { attributes: { plan: 'gold', city: 'Bern' } }) });
      }
    };
    rounds.push((await cpuMicroseconds(async () => void (await Promise.all(Array.from({ length: IN_FLIGHT }, worker))))) / EVENTS);
  }
  return median(rounds);
}

async function cpuMicroseconds(work: () => Promise<void>): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return user + system;
}

async function microseconds(work: () => Promise<void>): Promise<number> {
  const began = performance.now();
  await work();
  return (performance.now() - began) * 1_000;
}

function expectRows(found: number): void {
  if (found !== DUE) throw new Error(`Found ${found} rows, not ${DUE}.`);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}
