import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { localCacheDrivers } from '../../../adapters/cache/catalog.ts';
import type { Kept, LocalCache } from '../../../src/ports/cache.ts';
import { testContext } from '../../support/context.ts';

const kept = (value: unknown, bytes = 10): Kept => ({ value, askedAt: 1, bytes });

for (const name of Object.keys(localCacheDrivers) as (keyof typeof localCacheDrivers)[]) {
  describe(`local cache ${name}`, () => {
    const open = (settings: { entries?: number; maxBytes?: number } = {}): LocalCache => {
      const context = testContext();
      context.remove();
      return localCacheDrivers[name].create(localCacheDrivers[name].settings.parse(settings), context);
    };

    it('gives back the very object that it was given, until it is deleted', () => {
      const cache = open();
      const one = kept({ deep: [1] });
      cache.set('k', one);
      assert.equal(cache.get('k'), one);
      cache.delete('k');
      cache.delete('k');
      assert.equal(cache.get('k'), undefined);
    });

    it('keeps the last that was set under a key', () => {
      const cache = open();
      cache.set('k', kept(1));
      cache.set('k', kept(2));
      assert.equal(cache.get('k')!.value, 2);
      assert.equal(cache.size, 1);
    });

    it('takes any text for a key', () => {
      const cache = open();
      const keys = ['', ' ', '__proto__', 'constructor', '\ud800', '\ud801', 'k'.repeat(10_000)];
      for (const key of keys) cache.set(key, kept(key));
      assert.deepEqual(keys.map((key) => cache.get(key)?.value), keys);
    });

    it('holds no more entries than it may, and lets those go that were used longest ago', () => {
      const cache = open({ entries: 3 });
      for (const key of ['a', 'b', 'c']) cache.set(key, kept(key));
      cache.get('a');
      cache.set('d', kept('d'));
      assert.equal(cache.size, 3);
      assert.deepEqual(['a', 'b', 'c', 'd'].map((key) => cache.get(key)?.value), ['a', undefined, 'c', 'd']);
    });

    it('holds no more bytes than it may, and nothing that alone is more', () => {
      const cache = open({ maxBytes: 1_000 });
      for (let i = 0; i < 50; i++) cache.set(`k${i}`, kept(i, 100));
      assert.equal(cache.size, 10);
      assert.equal(cache.get('k49')!.value, 49);
      cache.set('k49', kept('huge', 1_001));
      assert.equal(cache.get('k49'), undefined, 'not the older value either');
      cache.set('weightless', kept(0, 0));
      assert.equal(cache.get('weightless')!.value, 0);
    });

    it('is empty when it was cleared', () => {
      const cache = open();
      cache.set('k', kept(1));
      cache.clear();
      assert.deepEqual([cache.size, cache.get('k')], [0, undefined]);
    });
  });
}
