import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { Connection } from '../../../../adapters/bus/activemq/connection.ts';
import { ActiveMqSettings } from '../../../../adapters/bus/activemq/driver.ts';
import { readConfig, type Config } from '../../../../src/app/config/config.ts';
import { checkBus } from '../../../../src/app/host/checks.ts';
import { parts } from '../../../../src/app/parts.ts';
import { systemClock } from '../../../../src/kernel/clock.ts';
import { ActiveMqServer } from '../../../support/activemq.ts';
import { within } from '../../../support/buses.ts';
import { rejectsWith } from '../../../support/faults.ts';

const LIMITS: readonly (readonly [from: string, to: string])[] = [
  ['<memoryUsage limit="64 mb"/>', '<memoryUsage limit="1 mb"/>'],
  ['<tempUsage limit="256 mb"/>', '<tempUsage limit="1 mb"/>'],
  ['sendFailIfNoSpaceAfterTimeout="3000"', 'sendFailIfNoSpaceAfterTimeout="500"'],
];
const frames = (count: number, persistent: boolean) => Array.from({ length: count }, () => ({ destination: `/queue/${persistent}`, body: Buffer.alloc(100_000), persistent }));

test('temporary space that is used up and memory that is are told apart from a disk that is full, with what to do', async (t) => {
  const broker = await ActiveMqServer.start({ edit: (xml) => LIMITS.reduce((text, [from, to]) => text.replace(from, to), xml) });
  t.after(() => broker.remove());
  const refused = async (reason: string, fill: (connection: Connection) => Promise<void>) => {
    const connection = await Connection.open(ActiveMqSettings.parse({ port: broker.port }), systemClock);
    t.after(() => connection.close());
    const { details } = await rejectsWith('exhausted', within(30_000, fill(connection), () => 'the sender waited without a word'), reason);
    return String(details.remedy);
  };
  const onDisk = await refused('broker_temp', async (connection) => {
    for (let at = 0; at < 400; at++) await connection.deliver(frames(1, false));
  });
  assert.match(onDisk, /tempUsage/);
  const inMemory = await refused('broker_memory', (connection) => connection.deliver(frames(20, true)));
  assert.match(inMemory, /memoryUsage/);
});

test('doctor says how much of its limits a broker uses, and which to raise once one is full', async (t) => {
  const broker = await ActiveMqServer.start();
  t.after(() => broker.remove());
  const look = async () => (await checkBus(configOn(broker.port), parts))[0]!;
  const well = await look();
  assert.deepEqual([well.state, well.remedy], ['ok', undefined]);
  assert.match(well.detail, /in use: disk \d %, memory \d %, temporary space 0 %$/);
  await broker.kill();
  await broker.up({ storeBytes: 1_024 });
  const full = await look();
  assert.equal(full.state, 'fail');
  assert.match(`${full.detail} ${full.remedy}`, /disk \d{3,} %.* storeUsage \(mq\.store\)/);
  await broker.kill();
  assert.match((await look()).remedy!, /Start the broker/);
});

test('a broker that cannot say so is well all the same', async (t) => {
  const broker = await ActiveMqServer.start({ edit: (xml) => xml.replace('<statisticsBrokerPlugin/>', '') });
  t.after(() => broker.remove());
  const [found] = await checkBus(configOn(broker.port), parts);
  assert.equal(found!.state, 'ok');
  assert.match(found!.detail, /statisticsBrokerPlugin/);
});

function configOn(port: number): Config {
  return readConfig({ sets: ['bus.driver=activemq', `bus.port=${port}`], env: {}, cwd: tmpdir() }, parts).config!;
}
