import assert from 'node:assert/strict';
import { mkdirSync, renameSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { installationSecret } from '../../../../src/app/host/installation.ts';
import { holdSending, readHold, releaseSending, SendingHold } from '../../../../src/app/host/sending-hold.ts';
import { testContext } from '../../../support/context.ts';
import { FakeClock } from '../../../support/fake-clock.ts';

const HELD = { since: '2026-11-21T09:00:00.000Z', backup: '2026-11-20T09:00:00.000Z' };

test('what is held goes on when it is released, and not because its folder is away for a while', async (t) => {
  const { dataDir, remove } = testContext();
  t.after(remove);
  installationSecret(dataDir);
  await holdSending(dataDir, HELD);
  const clock = new FakeClock();
  const hold = new SendingHold(dataDir, clock);
  let begun = 0;
  hold.afterRelease(() => begun++);
  renameSync(dataDir, `${dataDir}-away`);
  await clock.advance(5_000);
  // As what a disk is mounted on when it is not.
  mkdirSync(dataDir);
  await clock.advance(5_000);
  assert.deepEqual([begun, hold.held], [0, HELD]);
  rmdirSync(dataDir);
  renameSync(`${dataDir}-away`, dataDir);
  await clock.advance(5_000);
  assert.equal(begun, 0);
  await releaseSending(dataDir);
  await clock.advance(5_000);
  assert.deepEqual([begun, hold.held], [1, undefined]);
});

test('a note that cannot be read is no leave to send', async (t) => {
  const { dataDir, remove } = testContext();
  t.after(remove);
  assert.equal(readHold(dataDir), undefined);
  writeFileSync(join(dataDir, 'sending-held.json'), '{');
  assert.throws(() => new SendingHold(dataDir, new FakeClock()), /sending-held\.json cannot be read/);
});
