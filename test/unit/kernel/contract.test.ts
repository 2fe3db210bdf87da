import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { z } from 'zod';
import type { Call } from '../../../src/kernel/call.ts';
import { command, contract, outdatedBy, query } from '../../../src/kernel/contract.ts';
import { AnyJson } from '../../../src/kernel/json-schema.ts';
import { event } from '../../../src/kernel/message.ts';

interface One<I, O> {
  ask(request: I, call: Call): Promise<O>;
}
const ok = z.object({ a: z.string() });
const define = (input: z.ZodType): unknown => contract<One<unknown, unknown>>('one', { ask: query({ input, output: ok, timeoutMs: 1 }) });

describe('a contract', () => {
  it('refuses what JSON cannot carry, every field at once, each with what to use instead', () => {
    const input = z.object({
      born: z.date(),
      tags: z.set(z.string()),
      more: z.object({ lookup: z.map(z.string(), z.number()), big: z.bigint() }),
      list: z.array(z.object({ nothing: z.undefined() })),
      either: z.string().nullable().optional(),
      free: z.any(),
      changed: z.string().transform((s) => s.length),
    });
    assert.throws(
      () => define(input),
      (error: Error) => {
        for (const path of ['born', 'tags', 'more.lookup', 'more.big', 'list.[].nothing', 'either', 'free', 'changed']) {
          assert.match(error.message, new RegExp(`one\\.ask request\\.${path.replaceAll(/[.[\]]/g, '\\$&')}: `));
        }
        return true;
      },
    );
  });

  it('takes recursion, unions, records and free JSON', () => {
    type Tree = { value: string; children: Tree[] };
    const tree: z.ZodType<Tree> = z.lazy(() => z.object({ value: z.string(), children: z.array(tree) }));
    define(z.object({ tree, free: AnyJson, either: z.union([z.string(), z.int()]), record: z.record(z.string(), z.boolean()) }));
  });

  it('has a hash that changes with the wire and with nothing else', () => {
    const make = (input: z.ZodType<any>, kind: 'query' | 'command' = 'query', timeoutMs = 1): string =>
      contract<One<any, { a: string }>>('one', { ask: kind === 'query' ? query({ input, output: ok, timeoutMs }) : command({ input, output: ok, timeoutMs }) }).hash;
    const base = make(z.object({ a: z.string(), b: z.int() }));
    assert.equal(make(z.object({ b: z.int(), a: z.string() })), base, 'the order of fields');
    assert.equal(make(z.object({ a: z.string(), b: z.int() }), 'query', 9_000), base, 'the time-out');
    assert.notEqual(make(z.object({ a: z.string(), b: z.int(), c: z.string().optional() })), base, 'a field');
    assert.notEqual(make(z.object({ a: z.string(), b: z.number() })), base, 'a type');
    assert.notEqual(make(z.object({ a: z.string(), b: z.int() }), 'command'), base, 'the kind');
  });

  it('does not compile with a missing or a wrong descriptor', () => {
    // @ts-expect-error -- `ask` has no descriptor
    contract<One<{ a: string }, { a: string }>>('one', {});
    // @ts-expect-error -- the descriptor's answer is not the method's
    contract<One<{ a: string }, { a: string }>>('one', { ask: query({ input: ok, output: z.object({ b: z.int() }), timeoutMs: 1 }) });
  });

  it('does not compile with a key that the event does not name', () => {
    const changed = event('one.changed', ok);
    assert.equal(outdatedBy(changed, (e) => e.a).keyOf({ a: 'x' }), 'x');
    // @ts-expect-error -- the event has no `b`
    outdatedBy(changed, (e) => e.b);
  });

  it('refuses names that are not of the form', () => {
    assert.throws(() => contract('No Good', {}), /kebab-case/);
    assert.throws(() => event('nodot', ok), /module\.what-happened/);
  });
});
