import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Config, requireConfig } from '../../../../src/app/config/config.ts';
import { BootProblem } from '../../../../src/app/host/boot-problem.ts';
import { moveFile, readMove } from '../../../../src/app/host/bus-move-file.ts';
import { KeptBus, readTopologyWith } from '../../../../src/app/host/kept-bus.ts';
import { Fault } from '../../../../src/kernel/fault.ts';
import { parts } from '../../../../src/app/parts.ts';
import { testContext } from '../../../support/context.ts';
import { rejectsWith } from '../../../support/faults.ts';

const HERE = 'embedded, bus.sqlite';
const THERE = 'embedded, other/bus.sqlite';
const ENDS = { from: HERE, to: THERE };

function installation(t: TestContext) {
  const context = testContext();
  t.after(() => context.remove());
  const { dataDir } = context;
  const topology = (bus: object, rest: object = {}): string => {
    const file = join(dataDir, `topology-${JSON.stringify([bus, rest]).replace(/\W+/g, '-')}.yaml`);
    writeFileSync(file, JSON.stringify({ extends: 'default', data: dataDir, bus, ...rest }));
    return file;
  };
  const kept = (bus: object): KeptBus => {
    const config: Config = requireConfig({ topology: topology(bus), env: {}, cwd: dataDir }, parts).config;
    return new KeptBus({ config, host: 'app', parts, context, readTopology: readTopologyWith(parts, { env: {}, cwd: dataDir }) });
  };
  const other = topology({ driver: 'embedded', directory: 'other' });
  return { dataDir, topology, kept, other, ledger: moveFile(dataDir, { ...ENDS, topology: other, back: null }), here: { driver: 'embedded' }, there: { driver: 'embedded', directory: 'other' } };
}

/** The problem of a start, with its remedy. */
const refusal = (create: () => KeptBus): string => {
  try {
    create();
  } catch (error) {
    assert.ok(error instanceof BootProblem, String(error));
    return `${error.message} ${error.remedy}`;
  }
  return assert.fail('it was not refused');
};

test('the record of a move is read as it was written, and a queue that is noted late does not reopen it', async (t) => {
  const { dataDir, ledger, other } = installation(t);
  assert.equal(readMove(dataDir), undefined);
  await Promise.all([ledger.note([]), ledger.note(['a']), ledger.note(['a', 'b'])]);
  assert.deepEqual(readMove(dataDir), { ...ENDS, topology: other, back: null, moved: ['a', 'b'], isOver: false });
  await Promise.all([ledger.close(), ledger.note(['a', 'b', 'c'])]);
  assert.deepEqual(readMove(dataDir), { ...ENDS, topology: other, back: null, moved: [], isOver: true });
});

test('a record that is damaged is not guessed at', (t) => {
  const { dataDir, kept, here } = installation(t);
  writeFileSync(join(dataDir, 'bus-move.json'), '{"from":');
  assert.match(refusal(() => kept(here)), /bus-move\.json is damaged/);
});

test('after a move only the bus with the messages may be named', async (t) => {
  const { kept, ledger, here, there, other } = installation(t);
  await ledger.close();
  const refused = refusal(() => kept(here));
  assert.ok(refused.includes(other) && refused.includes(THERE), refused);
  assert.equal(kept(there).progress, null);
});

test('in the middle of one the host starts with the configuration from before alone, and only with the new bus', async (t) => {
  const { kept, ledger, here, there, other } = installation(t);
  await ledger.note(['a']);
  assert.match(refusal(() => kept(there)), /on their way/);
  kept(here);
  writeFileSync(other, 'bus: { driver: pigeon }');
  assert.match(refusal(() => kept(here)), /cannot be opened[\s\S]*pigeon/);
  await ledger.note([]);
  kept(here);
});

test('while messages are taken back the host starts with the configuration from before, and only with the bus that they come from', async (t) => {
  const { dataDir, kept, here, there, other } = installation(t);
  const ledger = moveFile(dataDir, { from: THERE, to: HERE, topology: 'default', back: other });
  await ledger.note([]);
  kept(here);
  writeFileSync(other, 'bus: { driver: pigeon }');
  assert.match(refusal(() => kept(here)), /on their way back[\s\S]*cannot be opened[\s\S]*pigeon/);
  await ledger.close();
  kept(here);
  assert.match(refusal(() => kept(there)), /have been moved/);
});

test('a move that never got to the new bus is called off without it, and one that is over is not turned back', async (t) => {
  const { dataDir, kept, ledger, here, there, other } = installation(t);
  await rejectsWith('conflict', kept(here).turnBack(), 'no_move');
  await ledger.note([]);
  const written = readFileSync(other);
  writeFileSync(other, 'bus: { driver: pigeon }');
  assert.deepEqual((await kept(here).turnBack()).state, 'done');
  assert.deepEqual((await kept(here).turnBack()).state, 'done', 'once more');
  assert.deepEqual(readMove(dataDir)!.isOver, true);
  assert.match(refusal(() => kept(there)), /have been moved/);
  writeFileSync(other, written);
  await ledger.close();
  await rejectsWith('conflict', kept(there).turnBack(), 'no_move');
});

test('messages go to another bus of the same host alone', async (t) => {
  const { kept, topology, here } = installation(t);
  const bus = kept(here);
  await rejectsWith('conflict', bus.move(topology(here)), 'same_bus');
  const elsewhere = topology({ driver: 'embedded', directory: 'other' }, { extends: undefined, hosts: { web: { modules: ['portal', 'trigger', 'notification'] } } });
  await rejectsWith('invalid', bus.move(elsewhere), 'other_keeper');
  await rejectsWith('invalid', bus.move('/nowhere.yaml'), 'topology_invalid');
  await assert.rejects(bus.move(topology({ driver: 'activemq', password: { fromEnv: 'NOT_IN_THE_HOST' } })), /with the environment that it was started with:\n.*NOT_IN_THE_HOST/);
  const away = topology({ driver: 'activemq', port: 1, connectTimeoutMs: 1_000 });
  await bus.bus.start();
  t.after(() => bus.bus.stop(1_000));
  await assert.rejects(bus.move(away), (thrown) => Fault.is(thrown) && thrown.reason === 'broker_away' && thrown.message.includes(`doctor --topology ${away}`));
});
