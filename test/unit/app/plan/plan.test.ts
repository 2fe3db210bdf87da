import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import { readConfig } from '../../../../src/app/config/config.ts';
import type { Parts } from '../../../../src/app/config/parts.ts';
import { parts as installed } from '../../../../src/app/parts.ts';
import { differenceOf } from '../../../../src/app/plan/difference.ts';
import { planText } from '../../../../src/app/plan/plan-text.ts';
import { planOf, type Plan } from '../../../../src/app/plan/plan.ts';
import type { Call } from '../../../../src/kernel/call.ts';
import { contract, query, type Contract } from '../../../../src/kernel/contract.ts';
import { event, job } from '../../../../src/kernel/message.ts';
import type { ModuleDefinition } from '../../../../src/kernel/module.ts';

interface Ask {
  ask(request: Record<string, never>, call: Call): Promise<Record<string, never>>;
}
const contractOf = (name: string, timeoutMs = 500) => contract<Ask>(name, { ask: query({ input: z.object({}), output: z.object({}), timeoutMs, cache: { ttlMs: 1_000, keyBy: () => '' } }) });
const moduleOf = (offers: Contract<any>, rest: Partial<ModuleDefinition>): ModuleDefinition => ({ name: offers.name, contract: offers, implementation: class {}, calls: [], migrations: [], subscriptions: [], publishes: [], settings: z.strictObject({}), parts: [], lifecycles: [], ...rest });

function planWith(modules: readonly ModuleDefinition[], ...sets: string[]): Plan {
  const parts: Parts = { ...installed, modules };
  const { config, problems } = readConfig({ topology: 'default', env: {}, cwd: '/', sets: [`hosts.app.modules=[${modules.map(({ name }) => name).join(', ')}]`, ...sets] }, parts);
  assert.deepEqual(problems, []);
  return planOf(config!, parts);
}

test('every edge is there, with how it is made and how long it may take', () => {
  const [a, b] = [contractOf('a'), contractOf('b', 700)];
  const { calls } = planWith([moduleOf(a, { calls: [b] }), moduleOf(b, {})], 'calls.a.via=inline-strict', 'calls.b.via=inline-strict');
  assert.match(planText(planWith([moduleOf(a, { calls: [b] }), moduleOf(b, {})])), /inline .*no cache$/m);
  assert.deepEqual(calls, [{ from: 'a', to: 'b', via: 'inline-strict', crossesHosts: false, cacheEntries: null, cacheShared: null, operations: [{ method: 'ask', kind: 'query', timeoutMs: 700, cacheTtlMs: 1_000 }] }]);
});

test('messages go from who publishes to everybody who subscribes', () => {
  const happened = event('a.happened', z.object({ id: z.string() }), { orderBy: ({ id }) => id });
  const work = job('b.work', z.object({}), { attempts: 3 });
  class Handler {
    async handle(): Promise<void> {}
  }
  const subscription = { concurrency: 5, transactional: Handler };
  const { messages, findings } = planWith([
    moduleOf(contractOf('a'), { publishes: [happened, work] }),
    moduleOf(contractOf('b'), { subscriptions: [{ message: happened, ...subscription }, { message: work, ...subscription }] }),
    moduleOf(contractOf('c'), { subscriptions: [{ message: happened, ...subscription }] }),
  ]);
  assert.deepEqual(messages.map(({ message, to, queue, ordered, attempts }) => [message, to, queue, ordered, attempts]), [
    ['a.happened', 'b', 'b.a.happened', true, 12],
    ['a.happened', 'c', 'c.a.happened', true, 12],
    ['b.work', 'b', 'b.work', false, 3],
  ]);
  assert.deepEqual(findings, []);
});

test('what is wrong is found: a contract that nobody offers, a wait without end, loose ends', () => {
  const [a, b, c] = [contractOf('a'), contractOf('b', Infinity), contractOf('c')];
  const lost = job('b.lost', z.object({}));
  const awaited = event('d.awaited', z.object({}));
  const { findings } = planWith([moduleOf(a, { calls: [b, c], publishes: [lost] }), moduleOf(b, { calls: [a], subscriptions: [{ message: awaited, concurrency: 1, transactional: class { async handle() {} } }] })]);
  assert.deepEqual(findings.map(({ severity, path }) => [severity, path]), [
    ['error', 'a → c'],
    ['error', 'a → b.ask'],
    ['warning', 'b.lost'],
    ['warning', 'd.awaited'],
  ]);
});

test('a wait without end outside a cycle is no finding', () => {
  const [a, b] = [contractOf('a'), contractOf('b', Infinity)];
  assert.deepEqual(planWith([moduleOf(a, { calls: [b] }), moduleOf(b, {})]).findings, []);
});

test('the plan of what is installed has nothing wrong, and its text names everything', () => {
  const plan = planWith(installed.modules);
  assert.deepEqual(plan.findings, []);
  const text = planText(plan);
  for (const { name } of plan.modules) assert.ok(text.includes(name));
  for (const { message, queue, heardBy } of plan.messages) assert.ok(text.includes(message) && (queue === null ? heardBy.length > 0 : text.includes(queue)), message);
  assert.match(text, /template-published +event +portal → notification +told as it is published/);
});

test('a difference names what moves, is called otherwise, is stored elsewhere or set anew', () => {
  const modules = [moduleOf(contractOf('a'), { calls: [contractOf('b')] }), moduleOf(contractOf('b'), {})];
  const before = planWith(modules, 'data=/x');
  assert.deepEqual(differenceOf(before, before), []);
  const after: Plan = { ...planWith(modules, 'data=/x', 'log.level=warn', 'calls.a.via=inline-strict', 'calls.b.via=inline-strict'), modules: before.modules.map((one) => (one.name === 'b' ? { ...one, host: 'other', storage: 'postgres' } : one)) };
  assert.deepEqual(differenceOf(before, after).map(({ kind, what, from, to }) => [kind, what, from, to]), [
    ['module', 'b', 'app', 'other'],
    ['call', 'a → b', 'inline', 'inline-strict'],
    ['storage', 'b', 'sqlite', 'postgres'],
    ['setting', 'log.level', '"info"', '"warn"'],
  ]);
});

test('mails that leave the house with links that lead nowhere are told of', () => {
  const modules = [moduleOf(contractOf('a'), {})];
  const smtp = 'channels.email={ driver: smtp, host: mail.example }';
  assert.deepEqual(planWith(modules).findings, []);
  assert.deepEqual(planWith(modules, smtp).findings.map(({ severity, path }) => [severity, path]), [['warning', 'publicUrl']]);
  assert.deepEqual(planWith(modules, smtp, 'publicUrl=https://mail.agency.example').findings, []);
});

test('a module that moves takes its own files along: its database, and mails that are kept for it', () => {
  const modules = [moduleOf(contractOf('a'), { usesChannels: true }), moduleOf(contractOf('b'), {})];
  const movesOf = (...sets: string[]) => {
    const before = planWith(modules, ...sets);
    return differenceOf(before, { ...before, modules: before.modules.map((one) => ({ ...one, host: 'other' })) }).map(({ what, means }) => [what, /copy (.*) to the data directory/.exec(means!)![1]]);
  };
  assert.deepEqual(movesOf(), [['a', 'a.sqlite*, email-outbox.sqlite* and installation.json'], ['b', 'b.sqlite* and installation.json']]);
  assert.deepEqual(movesOf('channels.email={ driver: smtp, host: mail.example }')[0], ['a', 'a.sqlite* and installation.json']);
});
