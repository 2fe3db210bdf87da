import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { stringify } from 'yaml';
import { readConfig, type ReadConfig } from '../../../../src/app/config/config.ts';
import { formatProblems } from '../../../../src/app/config/problem.ts';
import { folderWith, parts } from './fixture.ts';

const cwd = folderWith({});
const seed = Date.now() % 2 ** 31;

function readText(text: string | Uint8Array): ReadConfig {
  writeFileSync(join(cwd, 'main.yaml'), text);
  return readConfig({ topology: 'main', env: {}, cwd }, parts);
}

/** Whatever a person wrote, there is a configuration or there are problems that can be shown. */
function assertTotal(read: ReadConfig): void {
  const errors = read.problems.filter(({ severity }) => severity === 'error');
  assert.equal(read.config === undefined, errors.length > 0);
  assert.equal(typeof formatProblems(read.problems), 'string');
}

test('any text is read or refused', (t) => {
  t.diagnostic(`seed ${seed}`);
  fc.assert(fc.property(fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.string({ unit: fc.constantFrom('a', ':', ' ', '\n', '-', '{', '}', '[', '&', '*', '!', '|', '"', "'", '#', '?') })), (text) => assertTotal(readText(text))), { seed, numRuns: 400 });
  fc.assert(fc.property(fc.uint8Array(), (bytes) => assertTotal(readText(bytes))), { seed, numRuns: 100 });
});

test('any tree under known and unknown names is read or refused', (t) => {
  t.diagnostic(`seed ${seed}`);
  const names = ['data', 'publicUrl', 'http', 'hosts', 'calls', 'registry', 'storage', 'bus', 'channels', 'modules', 'log', 'shutdown', 'extends', 'listen', 'driver', 'default', 'email', 'portal', 'app', 'via', 'fromEnv', 'fromFile', 'constructor', 'toString', '0'];
  const leaf = fc.oneof(fc.string(), fc.integer(), fc.double(), fc.boolean(), fc.constant(null), fc.constantFrom('sqlite', 'embedded', 'outbox', 'smtp', 'static', 'inline', '127.0.0.1:1', 'portal'));
  const { tree } = fc.letrec((tie) => ({
    tree: fc.oneof({ maxDepth: 4, depthSize: 'small' }, leaf, fc.array(tie('tree'), { maxLength: 3 }), fc.dictionary(fc.constantFrom(...names), tie('tree'), { maxKeys: 5 })),
  }));
  fc.assert(fc.property(fc.dictionary(fc.constantFrom(...names), tree, { maxKeys: 6 }), (value) => assertTotal(readText(stringify(value)))), { seed, numRuns: 600 });
});
