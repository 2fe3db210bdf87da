import 'reflect-metadata';
import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { inject, injectable } from 'inversify';
import type { Kysely } from 'kysely';
import { z } from 'zod';
import { queueSettings } from '../../../src/fabric/envelope.ts';
import { type Call, systemCall } from '../../../src/kernel/call.ts';
import { command, contract } from '../../../src/kernel/contract.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import { event, job, type Received } from '../../../src/kernel/message.ts';
import { defineModule, type EffectHandler, type TransactionalHandler } from '../../../src/kernel/module.ts';
import { Store, type Transaction } from '../../../src/ports/storage.ts';
import { composeForTest, type TestComposition } from '../../support/compose.ts';

interface Tables {
  notes: { id: string; text: string };
}
const notesTable = {
  name: '0001-notes',
  up: (db: Kysely<any>) => db.schema.createTable('notes').addColumn('id', 'text', (c) => c.primaryKey()).addColumn('text', 'text', (c) => c.notNull()).execute(),
};
const Note = z.object({ text: z.string() });
const noted = event('writer.noted', Note, { orderBy: (n) => n.text[0]! });
const mailed = job('reader.mail', Note, { attempts: 3, backoff: { firstMs: 5, mostMs: 20 } });
const gathered = job('reader.gather', Note);
const undeclared = event('writer.undeclared', Note);
const Write = z.object({ text: z.string(), then: z.enum(['commit', 'throw', 'undeclared', 'malformed']) });
const Empty = z.object({});

interface Writer {
  write(request: z.infer<typeof Write>, call: Call): Promise<Record<string, never>>;
}
const writer = contract<Writer>('writer', { write: command({ input: Write, output: Empty, timeoutMs: 5_000 }) });

@injectable()
class WriterService implements Writer {
  readonly store: Store<Tables>;
  constructor(@inject(Store) store: Store<Tables>) {
    this.store = store;
  }
  async write({ text, then }: z.infer<typeof Write>): Promise<Record<string, never>> {
    await this.store.transaction(async (tx) => {
      await tx.db.insertInto('notes').values({ id: text, text }).execute();
      await tx.publish(noted, { text }, { workspace: 'w' });
      if (then === 'throw') throw new Fault('conflict', 'As asked.');
      if (then === 'undeclared') await tx.publish(undeclared, { text }, { workspace: 'w' });
      if (then === 'malformed') await tx.publish(noted, { words: text } as never, { workspace: 'w' });
    });
    return {};
  }
}

const writerModule = defineModule({
  name: 'writer', contract: writer, implementation: WriterService, calls: [], migrations: [notesTable], subscriptions: [],
  publishes: [noted], settings: Empty, parts: [], lifecycles: [],
});

interface Reader {
  nothing(request: Record<string, never>, call: Call): Promise<Record<string, never>>;
}
const reader = contract<Reader>('reader', { nothing: command({ input: Empty, output: Empty, timeoutMs: 100 }) });
@injectable()
class ReaderService implements Reader {
  async nothing(): Promise<Record<string, never>> {
    return {};
  }
}
/** What the handlers do and saw; reset by each test. */
const seen: { notes: string[]; pieces: string[][]; mails: { text: string; attempt: number; last: boolean }[]; onNote: (text: string) => void; onMail: (attempt: number) => { notBefore: number; reason: string } | undefined } = {
  notes: [], pieces: [], mails: [], onNote: () => {}, onMail: () => undefined,
};
@injectable()
class OnNoted implements TransactionalHandler<z.infer<typeof Note>, Transaction<Tables>> {
  async handle({ id, payload }: Received<z.infer<typeof Note>>, tx: Transaction<Tables>): Promise<void> {
    seen.notes.push(payload.text);
    await tx.db.insertInto('notes').values({ id, text: payload.text }).execute();
    await tx.publish(mailed, payload, { workspace: 'w' });
    seen.onNote(payload.text);
  }
}
@injectable()
class OnGathered implements TransactionalHandler<z.infer<typeof Note>, Transaction<Tables>> {
  handle(received: Received<z.infer<typeof Note>>, tx: Transaction<Tables>): Promise<void> {
    return this.handleMany([received], tx);
  }
  async handleMany(all: readonly Received<z.infer<typeof Note>>[], tx: Transaction<Tables>): Promise<void> {
    seen.pieces.push(all.map(({ payload }) => payload.text));
    for (const { id, payload } of all) {
      await tx.db.insertInto('notes').values({ id, text: payload.text }).execute();
      if (payload.text === 'bad') throw new Fault('not_found', 'No such person.', { reason: 'person_not_found' });
    }
  }
}
@injectable()
class OnMailed implements EffectHandler<z.infer<typeof Note>> {
  async perform({ payload, attempt, last }: Received<z.infer<typeof Note>>) {
    seen.mails.push({ text: payload.text, attempt, last });
    return seen.onMail(attempt);
  }
}
@injectable()
class ReaderNotes {
  readonly store: Store<Tables>;
  constructor(@inject(Store) store: Store<Tables>) {
    this.store = store;
  }
}
const readerModule = defineModule({
  name: 'reader', contract: reader, implementation: ReaderService, calls: [writer], migrations: [notesTable],
  subscriptions: [{ message: noted, concurrency: 4, transactional: OnNoted }, { message: mailed, concurrency: 4, effect: OnMailed }, { message: gathered, concurrency: 20, transactional: OnGathered }],
  publishes: [mailed], settings: Empty, parts: [ReaderNotes], lifecycles: [],
});

describe('messages between modules', () => {
  let composed: TestComposition;
  const begin = async (): Promise<Writer> => {
    Object.assign(seen, { notes: [], pieces: [], mails: [], onNote: () => {}, onMail: () => undefined });
    composed = composeForTest({ modules: [writerModule, readerModule] });
    await composed.start();
    return composed.contract(writer);
  };
  const call = (): Call => systemCall('test', 'w', Date.now() + 10_000);
  const rows = () => composed.part('reader', ReaderNotes).store.db.selectFrom('notes').select('text').orderBy('text').execute().then((r) => r.map((n) => n.text));
  const until = async (what: () => boolean | Promise<boolean>): Promise<void> => {
    for (const end = Date.now() + 5_000; !(await what()); ) {
      assert.ok(Date.now() < end, 'did not happen within 5 s');
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const dead = async (queue: string) => (await composed.bus.browse(queue, { dead: true, limit: 10 })).messages;
  afterEach(() => composed.dispose());

  it('reach their handler after the commit, once, with the effect in its database', async () => {
    const stub = await begin();
    await Promise.all(Array.from({ length: 50 }, (_, i) => stub.write({ text: `n${i}`, then: 'commit' }, call())));
    await until(() => seen.mails.length === 50);
    assert.equal((await rows()).length, 50);
    assert.equal(new Set(seen.notes).size, 50);
  });

  it('wait for a subscriber whose host has never started', async () => {
    composed = composeForTest({ modules: [writerModule], queuesElsewhere: [queueSettings(noted, 'reader')] });
    await composed.start();
    await composed.contract(writer).write({ text: 'early', then: 'commit' }, call());
    await until(async () => (await composed.bus.browse('reader.writer.noted', { dead: false, limit: 10 })).messages.length === 1);
  });

  it('do not leave when the transaction rolls back', async () => {
    const stub = await begin();
    await assert.rejects(stub.write({ text: 'lost', then: 'throw' }, call()), { code: 'conflict' });
    await stub.write({ text: 'kept', then: 'commit' }, call());
    await until(() => seen.mails.length === 1);
    assert.deepEqual(seen.notes, ['kept']);
  });

  it('are refused when the module does not name them, or when they break their schema', async () => {
    const stub = await begin();
    await assert.rejects(stub.write({ text: 'a', then: 'undeclared' }, call()), { code: 'internal' });
    await assert.rejects(stub.write({ text: 'b', then: 'malformed' }, call()), { code: 'internal' });
  });

  it('have their effect once when they come again', async () => {
    await begin();
    const again = { id: 'same', name: noted.name, to: { topic: noted.name }, workspace: 'w', key: 'x', lane: 'normal', time: 1, trace: { traceId: '0'.repeat(32), spanId: '0'.repeat(16) }, payload: '{"text":"x"}' } as const;
    await composed.bus.publish([again]);
    await until(() => seen.mails.length === 1);
    await composed.bus.publish([again]);
    await composed.bus.publish([{ ...again, id: 'other', payload: '{"text":"y"}' }]);
    await until(() => seen.mails.length === 2);
    assert.deepEqual([seen.notes, await rows()], [['x', 'y'], ['x', 'y']]);
  });

  it('are handled many in one transaction where the handler can, each once, and by themselves when one of them fails', async () => {
    await begin();
    const message = (text: string) => ({ id: `id-${text}`, name: gathered.name, to: { queue: gathered.name }, workspace: 'w', key: null, lane: 'normal', time: 1, trace: { traceId: '0'.repeat(32), spanId: '0'.repeat(16) }, payload: JSON.stringify({ text }) }) as const;
    const good = Array.from({ length: 29 }, (_, i) => `c${i}`).sort();
    await composed.bus.publish([...good.slice(0, 10), 'bad', ...good.slice(10)].map(message));
    await until(async () => (await rows()).length === 29 && (await dead(gathered.name)).length === 1);
    assert.deepEqual(await rows(), good);
    assert.ok(seen.pieces.some((piece) => piece.length > 1), 'one transaction for several');
    assert.ok(seen.pieces.some((piece) => piece.length === 1 && piece[0] === 'bad'), 'the one that fails has failed alone');
    seen.pieces = [];
    await composed.bus.publish([message('c3'), message('new')]);
    await until(async () => (await rows()).includes('new'));
    assert.deepEqual(seen.pieces, [['new']]);
  });

  it('roll back and come again when their handler throws, and leave nothing twice', async () => {
    const stub = await begin();
    let failures = 0;
    seen.onNote = () => {
      if (failures++ === 0) throw new TypeError('not this time');
    };
    await stub.write({ text: 'stubborn', then: 'commit' }, call());
    await until(() => seen.mails.length === 1);
    assert.deepEqual([seen.notes, await rows()], [['stubborn', 'stubborn'], ['stubborn']]);
  });

  it('go to the error queue at once when trying again cannot help, and when they are not what their schema asks for', async () => {
    const stub = await begin();
    seen.onNote = () => {
      throw new Fault('not_found', 'No such person.', { reason: 'person_not_found' });
    };
    await stub.write({ text: 'orphan', then: 'commit' }, call());
    await until(async () => (await dead('reader.writer.noted')).length === 1);
    assert.match((await dead('reader.writer.noted'))[0]!.reason!, /person_not_found/);
    await composed.bus.publish([{ id: 'bad', name: mailed.name, to: { queue: mailed.name }, workspace: 'w', key: null, lane: 'normal', time: 1, trace: { traceId: '0'.repeat(32), spanId: '0'.repeat(16) }, payload: '{"text":5}' }]);
    await until(async () => (await dead('reader.mail')).length === 1);
    assert.equal(seen.mails.length, 0);
  });

  it('use up a try when an effect throws, and none when it asks to come later', async () => {
    const stub = await begin();
    let calls = 0;
    seen.onMail = () => {
      if (++calls === 1) return { notBefore: Date.now() + 5, reason: 'busy' };
      throw new TypeError('broken');
    };
    await stub.write({ text: 'm', then: 'commit' }, call());
    await until(async () => (await dead('reader.mail')).length === 1);
    assert.deepEqual(seen.mails.map(({ attempt, last }) => [attempt, last]), [[1, false], [1, false], [2, false], [3, true]]);
    assert.doesNotMatch((await dead('reader.mail'))[0]!.reason!, /broken/, 'an exception may hold personal data');
  });

  it('that the bus refuses keep back no others, and are kept', async () => {
    const stub = await begin();
    const beyondTheLimit = 'x'.repeat(1_100_000);
    await Promise.all([stub.write({ text: 'before', then: 'commit' }, call()), stub.write({ text: beyondTheLimit, then: 'commit' }, call()), stub.write({ text: 'after', then: 'commit' }, call())]);
    await until(() => seen.mails.length === 2);
    assert.deepEqual(seen.notes.toSorted(), ['after', 'before']);
    const refused = () => composed.part('writer', WriterService).store.db.selectFrom('fabric_refused' as never).select('payload' as never).execute();
    await until(async () => (await refused()).length === 1);
  });

  it('left behind in the outbox by a run that was cut short are carried by the next', async () => {
    const stub = await begin();
    await composed.bus.pause('reader.writer.noted');
    await stub.write({ text: 'before', then: 'commit' }, call());
    const { dataDir } = composed;
    await composed.stop(1_000);
    const first = composed;
    composed = composeForTest({ modules: [writerModule, readerModule], dataDir });
    await composed.start();
    await composed.bus.resume('reader.writer.noted');
    await until(() => seen.mails.length === 1);
    await composed.stop(1_000);
    await first.dispose();
  });
});
