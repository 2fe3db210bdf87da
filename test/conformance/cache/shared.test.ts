import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { onEachSharedCache, until } from '../../support/shared-caches.ts';

const MINUTE_MS = 60_000;

onEachSharedCache('shared cache', (under) => {
  it('gives what was stored, to every host, and undefined for what was not', async (t) => {
    const { port } = await under.server(t);
    const one = await under.open(t, port);
    const other = await under.open(t, port);
    assert.equal(await one.get('k'), undefined);
    await one.set('k', '{"n":1}', MINUTE_MS);
    assert.equal(await other.get('k'), '{"n":1}');
    await other.set('k', '{"n":2}', MINUTE_MS);
    assert.equal(await one.get('k'), '{"n":2}');
  });

  it('adds only where nothing stands', async (t) => {
    const { port } = await under.server(t);
    const cache = await under.open(t, port);
    await cache.add('k', 'first', MINUTE_MS);
    await cache.add('k', 'second', MINUTE_MS);
    assert.equal(await cache.get('k'), 'first');
    assert.equal(cache.reachable, true, 'that something stands there is no failure');
  });

  it('carries any text under any key without mixing them up', async (t) => {
    const { port } = await under.server(t);
    const cache = await under.open(t, port);
    const seed = Number(process.env.MULTILITH_SEED ?? Date.now() % 2 ** 31);
    t.diagnostic(`seed ${seed}`);
    const anyText = fc.string({ unit: 'binary', maxLength: 400 });
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(anyText, { minLength: 2, maxLength: 6 }), fc.string({ unit: 'grapheme' }), async (keys, tail) => {
        await Promise.all(keys.map((key, at) => cache.set(key, JSON.stringify({ at, tail }), MINUTE_MS)));
        assert.deepEqual(await Promise.all(keys.map((key) => cache.get(key))), keys.map((_, at) => JSON.stringify({ at, tail })));
      }),
      { seed, numRuns: 100 },
    );
  });

  it('tells keys apart that are long, hold spaces, line ends or half a character, or look like one another', async (t) => {
    const { port } = await under.server(t);
    const cache = await under.open(t, port);
    const long = 'k'.repeat(249);
    const keys = ['', ' ', 'a b', 'a\r\nb', 'a\0b', '\ud800', '\ud801', '\ufffd', '"\\ud800"', `${long}1`, `${long}2`, 'x'.repeat(5_000), '#', '=a', '~a', 'ключ', 'é', 'e\u0301'];
    for (const [at, key] of keys.entries()) await cache.set(key, String(at), MINUTE_MS);
    for (const [at, key] of keys.entries()) assert.equal(await cache.get(key), String(at), JSON.stringify(key));
    assert.equal(cache.reachable, true);
  });

  it('keeps apart what is under another prefix', async (t) => {
    const { port } = await under.server(t);
    const one = await under.open(t, port, { keyPrefix: 'one:' });
    const two = await under.open(t, port, { keyPrefix: 'two:' });
    await one.set('k', 'of one', MINUTE_MS);
    assert.equal(await two.get('k'), undefined);
  });

  it('forgets when the time is over, and not before', async (t) => {
    const { port } = await under.server(t);
    const cache = await under.open(t, port);
    await cache.set('short', 's', 300);
    await cache.set('long', 'l', 31 * 24 * 3_600_000);
    await cache.set('very long', 'v', Number.MAX_SAFE_INTEGER);
    await cache.set('none', 'n', 0);
    assert.deepEqual([await cache.get('short'), await cache.get('long'), await cache.get('very long'), await cache.get('none')], ['s', 'l', 'v', undefined]);
    const storedAt = Date.now();
    let value: string | undefined = 's';
    while (value !== undefined && Date.now() < storedAt + 10_000) value = await cache.get('short');
    const livedMs = Date.now() - storedAt;
    assert.ok(livedMs >= 250 && livedMs < 4_000, `${livedMs} ms`);
    assert.equal(await cache.get('long'), 'l');
  });

  it('stores no value over its limit, and goes on', async (t) => {
    const { port } = await under.server(t);
    const cache = await under.open(t, port, { maxValueBytes: 1_000 });
    await cache.set('k', 'x'.repeat(1_000), MINUTE_MS);
    await cache.set('k', 'x'.repeat(1_001), MINUTE_MS);
    await cache.add('k2', 'é'.repeat(501), MINUTE_MS);
    assert.equal((await cache.get('k'))?.length, 1_000);
    assert.equal(await cache.get('k2'), undefined);
    assert.equal(cache.reachable, true);
  });

  it('carries half a megabyte', async (t) => {
    const { port } = await under.server(t);
    const cache = await under.open(t, port);
    const text = JSON.stringify('é'.repeat(250_000));
    await cache.set('k', text, MINUTE_MS);
    assert.equal(await cache.get('k'), text);
  });

  it('answers many questions at once, each its own', async (t) => {
    const { port } = await under.server(t);
    const cache = await under.open(t, port);
    const many = Array.from({ length: 900 }, (_, at) => String(at));
    await Promise.all(many.map((at) => cache.set(`k${at}`, at, MINUTE_MS)));
    assert.deepEqual(await Promise.all(many.map((at) => cache.get(`k${at}`))), many);
  });

  it('asks no more at once than it may; the rest are misses', async (t) => {
    const { port } = await under.server(t);
    const cache = await under.open(t, port, { mostPending: 10 });
    await cache.set('k', 'v', MINUTE_MS);
    const answers = await Promise.all(Array.from({ length: 50 }, () => cache.get('k')));
    assert.equal(answers.filter((answer) => answer === 'v').length, 10);
    assert.equal(await cache.get('k'), 'v');
  });

  it('is away before it was started and after it was stopped, and both may be done twice', async (t) => {
    const { port } = await under.server(t);
    const cache = under.create(t, port);
    assert.deepEqual([cache.reachable, await cache.get('k')], [false, undefined]);
    await Promise.all([cache.start(), cache.start()]);
    await until(() => cache.reachable);
    await cache.set('k', 'v', MINUTE_MS);
    const asked = cache.get('k');
    await Promise.all([cache.stop(1_000), cache.stop(1_000)]);
    await asked;
    assert.deepEqual([cache.reachable, await cache.get('k')], [false, undefined]);
    await cache.set('k', 'v', MINUTE_MS);
  });

  it('stops while it is starting', async (t) => {
    const { port } = await under.server(t);
    const cache = under.create(t, port);
    const started = cache.start();
    await cache.stop(1_000);
    await started;
    assert.equal(cache.reachable, false);
  });
});
