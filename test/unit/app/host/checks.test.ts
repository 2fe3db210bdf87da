import assert from 'node:assert/strict';
import { test } from 'node:test';
import { leaveDataDir, takeDataDir } from '../../../../src/app/control/socket.ts';
import { checkFileSystem } from '../../../../src/app/host/checks.ts';
import { checkQueues } from '../../../../src/app/host/queue-checks.ts';
import { testContext } from '../../../support/context.ts';

test('the file system is called by its name, and by its number when that is not known', () => {
  for (const [type, name] of [[0xef53, 'ext4'], [0x58465342, 'xfs'], [0x9123683e, 'btrfs'], [0x794c7630, 'overlayfs']] as const) assert.deepEqual(checkFileSystem(type), { check: 'file system', state: 'ok', detail: name });
  assert.match(checkFileSystem(0xabcd).detail, /0xabcd/);
});

test('a file system that promises too little is warned of, with what to do', () => {
  for (const [type, name] of [[0x6969, 'nfs'], [0x01021994, 'tmpfs']] as const) {
    const { state, detail, remedy } = checkFileSystem(type);
    assert.equal(state, 'warn');
    assert.ok(detail.startsWith(name) && remedy !== undefined);
  }
});

test('a host that runs and does not answer is a failure, not one that does not run', async (t) => {
  const { dataDir, remove } = testContext();
  t.after(remove);
  assert.deepEqual(await checkQueues({ dataDir }), [{ check: 'queues', state: 'ok', detail: 'not looked at: no host runs on this data directory' }]);
  // It takes connections, as one does that is stopped, and says nothing.
  const frozen = await takeDataDir(dataDir, 'app');
  // As the system does when it has no file descriptor left: nobody's process ends by it.
  frozen.emit('error', new Error('accept EMFILE'));
  const [found] = await checkQueues({ dataDir });
  assert.deepEqual([found!.state, /has not answered/.test(found!.detail), found!.remedy !== undefined], ['fail', true, true]);
  await leaveDataDir(frozen, dataDir, 'app');
});
