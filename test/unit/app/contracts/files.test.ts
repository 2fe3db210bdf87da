import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { describe, it } from 'node:test';
import { Ajv } from 'ajv';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { sendRequested } from '../../../../modules/notification/contract.ts';
import { contractFiles } from '../../../../src/app/contracts/files.ts';
import { flowsOf } from '../../../../src/app/contracts/flows.ts';
import { workerQueues } from '../../../../src/app/config/worker-queues.ts';
import { parts } from '../../../../src/app/parts.ts';
import type { BusWire } from '../../../../src/ports/bus.ts';

const { schemasWithoutId: official } = createRequire(import.meta.url)('@asyncapi/specs') as { schemasWithoutId: Readonly<Record<string, object>> };
/** Formats are words for people here: the official schema and ours use some that ajv knows nothing of. */
const LOOSE = { strict: false, validateFormats: false } as const;

const files = contractFiles(parts.modules);
const read = (path: string) => JSON.parse(files.get(path)!);
const document = read('asyncapi.json');
const asyncApi = new Ajv(LOOSE).compile(official['3.0.0']!);
/** What the official schema has against it. */
function problemsOf(value: unknown): string[] {
  asyncApi(value);
  return (asyncApi.errors ?? []).map(({ instancePath, message }) => `${instancePath}: ${message}`);
}

/** As trigger asks for it. */
const REQUEST = { personId: 'p', templateId: 't', channel: 'email', source: { kind: 'automation', id: 'a', version: 1, runId: 'r', eventId: 'e' }, event: { line: 'Auto', nested: [{ deep: null }] } };

function* nodes(value: unknown): Generator<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null) return;
  if (!Array.isArray(value)) yield value as Record<string, unknown>;
  for (const inner of Object.values(value)) yield* nodes(inner);
}

describe('the exported contracts', () => {
  it('hold an AsyncAPI 3 document by the official schema, which refuses a broken one', () => {
    assert.deepEqual(problemsOf(document), []);
    const broken = structuredClone(document);
    broken.operations['portal.send.portal.event-recorded'].action = 'shout';
    assert.ok(problemsOf(broken).some((problem) => problem.startsWith('/operations/portal.send.portal.event-recorded')));
  });

  it('refer only to what is in the document', () => {
    let count = 0;
    for (const { $ref } of nodes(document)) {
      if (typeof $ref !== 'string') continue;
      count++;
      assert.ok($ref.startsWith('#/') && $ref.split('/').slice(1).reduce<any>((at, key) => at?.[key], document) !== undefined, $ref);
    }
    assert.ok(count > 50);
  });

  it('name every message and queue, with who sends and who receives', () => {
    const flows = flowsOf(parts.modules);
    assert.deepEqual(Object.keys(document.components.messages), flows.map(({ message }) => message.name).sort());
    const queues = parts.modules.flatMap(({ name, subscriptions }) => subscriptions.map(({ message }) => (message.kind === 'job' ? message.name : `${name}.${message.name}`)));
    for (const queue of queues) assert.equal(document.channels[queue].address, queue);
    const who = (action: string) => Object.entries<{ action: string }>(document.operations).filter(([, operation]) => operation.action === action).map(([id]) => id);
    assert.deepEqual(who('receive').sort(), parts.modules.flatMap(({ name, subscriptions }) => subscriptions.map(({ message }) => `${name}.receive.${message.name}`)).sort());
    assert.deepEqual(who('send').sort(), parts.modules.flatMap(({ name, publishes }) => publishes.map((message) => `${name}.send.${message.name}`)).sort());
    assert.deepEqual(document.operations['trigger.receive.portal.event-recorded'].channel, { $ref: '#/channels/trigger.portal.event-recorded' });
    assert.deepEqual(document.components.messages['portal.event-recorded']['x-personal'], ['person', 'properties']);
  });

  it('describe payloads as the modules check them, in each file and in the document', () => {
    const inFile = new Ajv2020(LOOSE).compile(read('messages/notification.send-requested.schema.json'));
    const inDocument = new Ajv(LOOSE).addSchema(document, 'doc').compile({ $ref: 'doc#/components/schemas/notification.send-requested' });
    const wrong: object[] = [{ ...REQUEST, personId: 7 }, { ...REQUEST, event: 'x' }, { ...REQUEST, source: { ...REQUEST.source, kind: 'other' } }, {}];
    for (const validate of [inFile, inDocument, (value: unknown) => sendRequested.schema.safeParse(value).success]) {
      assert.ok(validate(REQUEST));
      for (const value of wrong) assert.ok(!validate(value), JSON.stringify(value));
    }
    assert.equal(read('messages/notification.send-requested.schema.json').properties.event['x-personal'], true);
    assert.equal(read('messages/notification.send-requested.schema.json').properties.personId['x-personal'], undefined);
  });

  it('hold a schema for each side of each operation, every one of them a schema', () => {
    const contracts = read('contracts.json');
    for (const { contract } of parts.modules) {
      assert.equal(contracts[contract.name].hash, contract.hash);
      assert.deepEqual(Object.keys(contracts[contract.name].operations), Object.keys(contract.operations).sort());
    }
    const named = Object.values<any>(contracts).flatMap(({ operations }) => Object.values<any>(operations).flatMap(({ request, answer }) => [request, answer]));
    assert.deepEqual([...files.keys()].filter((path) => path.startsWith('operations/')), named.sort());
    for (const path of files.keys()) if (path.endsWith('.schema.json')) assert.doesNotThrow(() => new Ajv2020(LOOSE).compile(read(path)), path);
    assert.deepEqual(contracts.notification.operations.track, { kind: 'query', timeoutMs: 300, faults: ['delivery_not_found'], cachedForMs: 5_000, request: 'operations/notification.track.request.schema.json', answer: 'operations/notification.track.answer.schema.json' });
  });

  it('are the same bytes in whatever order the modules are listed', () => {
    assert.deepEqual([...contractFiles([...parts.modules].reverse())], [...files]);
    for (const path of files.keys()) for (const node of nodes(read(path))) assert.deepEqual(Object.keys(node), Object.keys(node).toSorted(), path);
  });

  it('say where messages lie on the wire of a bus that has one', () => {
    const wire: BusWire = { protocol: 'stomp', host: '127.0.0.1:61613', queue: (name) => `/queue/m.${name}`, topic: (name) => `/topic/VirtualTopic.m.${name}`, headers: { type: 'object', properties: { persistent: { const: 'true' } } }, work: { address: (name) => `/queue/w.${name}`, headers: {}, answers: { address: '/queue/answers', headers: {} }, refused: { address: '/queue/refused', headers: {} } } };
    const wired = JSON.parse(contractFiles(parts.modules, { wire, workers: [] }).get('asyncapi.json')!);
    assert.deepEqual(problemsOf(wired), []);
    assert.deepEqual(wired.servers, { bus: { host: '127.0.0.1:61613', protocol: 'stomp' } });
    assert.equal(wired.channels['notification.send-requested'].address, '/queue/m.notification.send-requested');
    assert.equal(wired.channels['trigger.portal.event-recorded'].address, '/queue/m.trigger.portal.event-recorded');
    assert.equal(wired.channels['portal.event-recorded'].address, '/topic/VirtualTopic.m.portal.event-recorded');
    assert.deepEqual(wired.components.schemas.Headers, wire.headers);
    assert.notEqual(wired.info['x-hash'], document.info['x-hash']);
  });

  describe('for programs on an ActiveMQ bus', () => {
    const activemq = { driver: 'activemq', settings: parts.bus.activemq!.settings.parse({ prefix: 'agency', port: 61_614, workers: { scores: { events: ['portal.event-recorded', 'worker.rated'], attempts: 5 }, letters: {} } }) };
    const wired = JSON.parse(contractFiles(parts.modules, { wire: parts.bus.activemq!.wire!(activemq.settings), workers: workerQueues(activemq, parts) }).get('asyncapi.json')!);
    const headersOf = (name: string) => new Ajv(LOOSE).compile(wired.components.schemas[name]);

    it('name the addresses that they send to, and the headers', () => {
      assert.deepEqual(problemsOf(wired), []);
      assert.deepEqual(wired.servers, { bus: { host: '127.0.0.1:61614', protocol: 'stomp' } });
      const addressOf = (channel: string) => wired.channels[channel].address;
      assert.equal(addressOf('notification.send-requested'), '/queue/agency.in.notification.send-requested');
      assert.equal(addressOf('portal.event-recorded'), '/queue/agency.event.portal.event-recorded');
      assert.equal(addressOf('worker.rated'), '/queue/agency.event.worker.rated');
      assert.equal(addressOf('worker.letters'), '/queue/agency.in.worker.letters');
      const sent = headersOf('Headers');
      assert.ok(sent({ id: 'a', lane: 'bulk', notBefore: '1700000000000', traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', persistent: 'true' }));
      assert.ok(!sent({ lane: 'fast' }));
    });

    it('name the queues that are handed out, the messages in them, and how each is answered', () => {
      const { address, messages, 'x-attempts': attempts } = wired.channels['worker.scores.work'];
      assert.deepEqual([address, Object.keys(messages), attempts], ['/queue/agency.work.worker.scores', ['portal.event-recorded', 'worker.rated', 'worker.scores'], 5]);
      const event = wired.components.messages['portal.event-recorded.work'];
      assert.deepEqual([event.payload, event.headers], [{ $ref: '#/components/schemas/portal.event-recorded' }, { $ref: '#/components/schemas/WorkHeaders' }]);
      assert.deepEqual(Object.keys(wired.channels['worker.letters.work'].messages), ['worker.letters']);
      const { action, reply } = wired.operations['worker.scores.receive'];
      assert.deepEqual([action, reply.channel.$ref, wired.channels.answers.address, wired.channels.refused.address], ['receive', '#/channels/answers', '/queue/agency.done', '/queue/agency.refused']);
      const [answer, work] = [headersOf('AnswerHeaders'), headersOf('WorkHeaders')];
      assert.deepEqual([answer({ hand: 'h', outcome: 'working' }), answer({ hand: 'h', outcome: 'maybe' }), answer({ outcome: 'done' })], [true, false, false]);
      assert.equal(work({ id: 'a', hand: 'h' }), false);
    });

    it('refer only to what is there', () => {
      for (const { $ref } of nodes(wired)) if (typeof $ref === 'string') assert.notEqual($ref.split('/').slice(1).reduce<any>((at, key) => at?.[key], wired), undefined, $ref);
    });
  });
});
