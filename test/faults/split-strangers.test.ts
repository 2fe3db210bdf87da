import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { it } from 'node:test';
import { isLong } from '../support/campaign.ts';
import { seeded } from '../support/seed.ts';
import { SplitLoad } from '../support/split-load.ts';
import { layouts } from '../support/topologies.ts';

const VISITS = isLong ? 100 : 2;
const MEGABYTE = 1024 * 1024;
/** What a caller over rpc begins with, and the number that guards the headers of its frames (docs/wire.md). */
const PREAMBLE = Buffer.from('8d4d4c5250010d0a', 'hex');
const GUARD = 0x4d4c5250;
/** A stranger that says nothing of use is shown out by then. */
const CLOSED_MS = 15_000;

it('strangers at the ports of a split system are shown out, each by itself, while work goes on', { timeout: 900_000 }, async (t) => {
  const random = seeded((line) => t.diagnostic(line));
  const { system, load } = await SplitLoad.on(t, layouts['each module on its own host over rpc']);
  const bytes = (length: number) => Buffer.from(Array.from({ length }, () => random.whole(256)));
  const says: readonly (() => Buffer)[] = [
    () => bytes(1 + random.whole(2_000)),
    () => Buffer.alloc(2 * MEGABYTE, 0x61),
    () => Buffer.concat([Buffer.from([0x16, 0x03, 0x01, 0x02]), bytes(512)]),
    () => Buffer.from('POST /contract/notification/track HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n{'),
    () => Buffer.from('GET / HTTP/9.9\r\n\r\n'),
    () => Buffer.concat([PREAMBLE, bytes(500)]),
    () => Buffer.concat([PREAMBLE, headerOf(2 ** 31)]),
    () => Buffer.concat([PREAMBLE, headerOf(60_000), bytes(60_000)]),
    () => PREAMBLE,
    () => PREAMBLE.subarray(0, 3),
  ];
  for (let visit = 0; visit < VISITS; visit++) {
    await Promise.all(system.hosts.flatMap((host) => says.map((say) => shownOut(system.port(host), say()))));
  }
  await load.more(100);
  await load.addsUp(t);
  load.assertAnswered();
  assert.deepEqual(load.visits.filter(({ status }) => status !== 200), []);
  assert.doesNotMatch(system.output, /connection lost|A defect/);
});

/** Of a frame of this length, as it should be but for the check of what follows. */
function headerOf(length: number): Buffer {
  const header = Buffer.alloc(12);
  header.writeUInt32BE(length, 0);
  header.writeUInt32BE((length ^ GUARD) >>> 0, 8);
  return header;
}

/** Says something and waits for the end of the connection. */
function shownOut(port: number, words: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Error(`A stranger was let stay that said ${words.toString('latin1', 0, 40)}`));
    }, CLOSED_MS);
    socket.on('error', () => {}).on('close', () => {
      clearTimeout(timer);
      resolve();
    });
    socket.resume().write(words);
  });
}
