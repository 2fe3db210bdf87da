import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, it, type TestContext as Test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { blobDrivers } from '../../../adapters/blob/catalog.ts';
import type { Driver } from '../../../src/kernel/driver.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import type { Blobs } from '../../../src/ports/blob.ts';
import { testContext } from '../../support/context.ts';
import { rejectsWith } from '../../support/faults.ts';
import { heldMb } from '../../support/held-memory.ts';
import { longestTurn } from '../../support/longest-turn.ts';
import { S3Server } from '../../support/s3.ts';

type Name = keyof typeof blobDrivers;
const NEVER = new AbortController().signal;
const MB = 1_048_576;

/** Settings for each driver; one in the catalog without its line here is a compile error. */
const SETTINGS: Readonly<Record<Name, (t: Test) => Promise<object>>> = {
  fs: async () => ({}),
  async s3(t) {
    const server = await S3Server.start();
    t.after(() => server.stop());
    return server.settings;
  },
};

function create(t: Test, name: Name, settings: object): Blobs {
  const context = testContext();
  const { settings: schema, create: make } = blobDrivers[name] as unknown as Driver<object, Blobs>;
  const blobs = make(schema.parse(settings), context);
  t.after(async () => {
    await blobs.stop(1_000);
    context.remove();
  });
  return blobs;
}

async function* bytes(length: number, chunk = 65_536): AsyncGenerator<Uint8Array, void, void> {
  for (let at = 0; at < length; at += chunk) yield Buffer.alloc(Math.min(chunk, length - at), at / chunk);
}

async function* text(of: string): AsyncGenerator<Uint8Array, void, void> {
  yield Buffer.from(of);
}

async function read(blobs: Blobs, key: string): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of blobs.read(key, NEVER)) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

async function hashOf(content: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of content) hash.update(chunk);
  return hash.digest('hex');
}

for (const name of Object.keys(blobDrivers) as Name[]) {
  describe(`blobs in ${name}`, () => {
    const open = async (t: Test): Promise<Blobs> => {
      const blobs = create(t, name, await SETTINGS[name](t));
      await blobs.start();
      return blobs;
    };

    it('what is written is read, replaced and removed, under keys of several parts, empty things too', async (t) => {
      const blobs = await open(t);
      assert.equal(await blobs.write('exports/w1/a.csv', text('naïve 🎉'), NEVER), 11);
      assert.equal(await blobs.write('exports/w1/a.csv.2', text(''), NEVER), 0);
      assert.equal(await read(blobs, 'exports/w1/a.csv'), 'naïve 🎉');
      assert.equal(await read(blobs, 'exports/w1/a.csv.2'), '');
      await blobs.write('exports/w1/a.csv', text('second'), NEVER);
      assert.equal(await read(blobs, 'exports/w1/a.csv'), 'second');
      await blobs.remove('exports/w1/a.csv');
      await blobs.remove('exports/w1/a.csv');
      await rejectsWith('not_found', read(blobs, 'exports/w1/a.csv'), 'blob_not_found');
      assert.equal((await blobs.check()).ok, true);
    });

    it('large things go through in bounded memory and without long turns', { timeout: 60_000 }, async (t) => {
      const blobs = await open(t);
      const length = 48 * MB + 17;
      const before = await heldMb();
      let held = 0;
      const watched = async function* () {
        yield* bytes(length - MB);
        held = (await heldMb()) - before;
        yield* bytes(MB);
      };
      assert.equal(await blobs.write('large', watched(), NEVER), length);
      assert.ok(held < 32, `${held} MB are held after ${length} bytes`);
      const expected = await hashOf(bytes(length));
      const longest = longestTurn(t);
      assert.equal(await blobs.write('large', bytes(length), NEVER), length);
      assert.equal(await hashOf(blobs.read('large', NEVER)), expected);
      t.diagnostic(`${Math.round(held)} MB held, longest turn ${Math.round(longest.ms())} ms`);
      // The server of s3 runs in this process too, and hashes what it gets.
      if (name === 'fs') assert.ok(longest.ms() < 50, `a turn of ${longest.ms()} ms`);
    });

    it('what fails or is called off in the middle leaves what was there', async (t) => {
      const blobs = await open(t);
      await blobs.write('kept', text('first'), NEVER);
      for (const length of [100, 20 * MB]) {
        const broken = async function* () {
          yield* bytes(length);
          throw new Fault('deadline', 'The content broke off.');
        };
        await rejectsWith('deadline', blobs.write('kept', broken(), NEVER));
        const abort = new AbortController();
        const endless = async function* () {
          yield* bytes(length);
          abort.abort();
          yield* bytes(MB);
        };
        await rejectsWith('cancelled', blobs.write('kept', endless(), abort.signal));
      }
      assert.equal(await read(blobs, 'kept'), 'first');
      await rejectsWith('not_found', read(blobs, 'never'), 'blob_not_found');
    });

    it('a reader that stops early or is called off does no harm', async (t) => {
      const blobs = await open(t);
      await blobs.write('large', bytes(5 * MB), NEVER);
      for await (const _ of blobs.read('large', NEVER)) break;
      const abort = new AbortController();
      await rejectsWith('cancelled', (async () => {
        for await (const _ of blobs.read('large', abort.signal)) abort.abort();
      })());
      assert.equal(await hashOf(blobs.read('large', NEVER)), await hashOf(bytes(5 * MB)));
    });

    it('keys that lead elsewhere are refused', async (t) => {
      const blobs = await open(t);
      for (const key of ['', '/a', 'a/', 'a//b', '../a', 'a/../b', 'a/.b', '.drafts', 'A', 'a b', 'a\0', `${'a/'.repeat(300)}a`]) {
        await rejectsWith('invalid', blobs.write(key, text('x'), NEVER), 'blob_key');
        await rejectsWith('invalid', read(blobs, key), 'blob_key');
        await rejectsWith('invalid', blobs.remove(key), 'blob_key');
      }
    });

    it('before the start and after the stop nothing is written', async (t) => {
      const blobs = create(t, name, await SETTINGS[name](t));
      await rejectsWith('unavailable', blobs.write('a', text('x'), NEVER));
      await Promise.all([blobs.start(), blobs.start()]);
      await blobs.write('a', text('x'), NEVER);
      await Promise.all([blobs.stop(1_000), blobs.stop(1_000)]);
      await rejectsWith('unavailable', read(blobs, 'a'));
    });
  });
}

it('a server that refuses the key, has no such bucket, is away or does not answer is told apart', async (t) => {
  const server = await S3Server.start();
  t.after(() => server.stop());
  const silent = createServer(() => {});
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  t.after(() => silent.close());
  const cases: [object, Fault['code'], string][] = [
    [{ accessKeyId: 'NOBODY' }, 'denied', 's3_denied'],
    [{ bucket: 'another' }, 'unavailable', 's3'],
    [{ endpoint: 'http://127.0.0.1:1' }, 'unavailable', 's3'],
    [{ endpoint: `http://127.0.0.1:${(silent.address() as AddressInfo).port}`, answerTimeoutMs: 200 }, 'unavailable', 's3'],
  ];
  for (const [settings, code, reason] of cases) {
    const blobs = create(t, 's3', { ...server.settings, ...settings });
    await blobs.start();
    await rejectsWith(code, blobs.write('a', text('x'), NEVER), reason);
    await rejectsWith(code, read(blobs, 'a'), reason);
    assert.equal((await blobs.check()).ok, false);
  }
  silent.closeAllConnections();
});

it('content that a server does not take is let go of', async (t) => {
  const server = await S3Server.start();
  t.after(() => server.stop());
  const blobs = create(t, 's3', { ...server.settings, bucket: 'another' });
  await blobs.start();
  let released = false;
  const content = async function* () {
    try {
      yield* bytes(20 * MB);
    } finally {
      released = true;
    }
  };
  await rejectsWith('unavailable', blobs.write('a', content(), NEVER), 's3');
  assert.equal(released, true);
});

it('a reader may take longer than the server may', async (t) => {
  const server = await S3Server.start();
  t.after(() => server.stop());
  const blobs = create(t, 's3', { ...server.settings, answerTimeoutMs: 500 });
  await blobs.start();
  await blobs.write('large', bytes(5 * MB), NEVER);
  let read = 0;
  for await (const chunk of blobs.read('large', NEVER)) {
    if (read === 0) await pause(1_200);
    read += chunk.length;
  }
  assert.equal(read, 5 * MB);
});

it('a draft that another process finishes while one starts is in nobody\'s way', async (t) => {
  const { dataDir, remove } = testContext();
  t.after(remove);
  mkdirSync(join(dataDir, '.drafts'));
  // Listed, and not there when it is looked at.
  symlinkSync(join(dataDir, 'gone'), join(dataDir, '.drafts', 'draft'));
  const blobs = create(t, 'fs', { directory: dataDir });
  await blobs.start();
  assert.equal(await blobs.write('a', text('x'), NEVER), 1);
});

it('nothing is left of what broke off, neither on the disk nor with the server', async (t) => {
  const { dataDir, remove } = testContext();
  t.after(remove);
  const broken = async function* () {
    yield* bytes(6 * MB);
    throw new Fault('deadline', 'The content broke off.');
  };
  const folder = create(t, 'fs', { directory: dataDir });
  await folder.start();
  await rejectsWith('deadline', folder.write('a', broken(), NEVER));
  assert.deepEqual(readdirSync(dataDir, { recursive: true }), ['.drafts']);

  // Amazon's may answer 200 and say in the answer that it has failed; no server that can be had here does.
  const asked: string[] = [];
  const server = createServer(async (request, response) => {
    for await (const _ of request);
    const { searchParams } = new URL(request.url!, 'http://s3');
    asked.push(`${request.method} ${[...searchParams.keys()].join()}`);
    response.setHeader('etag', '"tag"').end(searchParams.has('uploads') ? '<UploadId>one</UploadId>' : request.method === 'POST' ? '<Error><Code>InternalError</Code></Error>' : '');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const bucket = create(t, 's3', { endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, bucket: 'suite', accessKeyId: 'a', secretAccessKey: 'b', partBytes: 5 * MB });
  await bucket.start();
  await rejectsWith('deadline', bucket.write('a', broken(), NEVER));
  assert.deepEqual(asked.splice(0), ['POST uploads', 'PUT partNumber,uploadId', 'DELETE uploadId']);
  await rejectsWith('unavailable', bucket.write('a', bytes(6 * MB), NEVER), 's3');
  assert.deepEqual(asked, ['POST uploads', 'PUT partNumber,uploadId', 'PUT partNumber,uploadId', 'POST uploadId', 'DELETE uploadId']);
  server.closeAllConnections();
});
