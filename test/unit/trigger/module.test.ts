import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { test } from 'node:test';
import { inject, injectable } from 'inversify';
import { z } from 'zod';
import { contract, query } from '../../../src/kernel/contract.ts';
import { type Call, systemCall } from '../../../src/kernel/call.ts';
import { Publisher, type Received } from '../../../src/kernel/message.ts';
import { defineModule } from '../../../src/kernel/module.ts';
import { SendRequest, sendRequested } from '../../../modules/notification/contract.ts';
import { eventRecorded, personChanged } from '../../../modules/portal/contract.ts';
import { trigger } from '../../../modules/trigger/contract.ts';
import { triggerModule } from '../../../modules/trigger/module.ts';
import { composeForTest } from '../../support/compose.ts';
import { person, rule } from '../../support/trigger-rig.ts';

const Nothing = z.object({});
interface Silent {
  nothing(request: z.infer<typeof Nothing>, call: Call): Promise<z.infer<typeof Nothing>>;
}
const arrived = new EventEmitter();

@injectable()
class Source implements Silent {
  readonly publisher: Publisher;
  constructor(@inject(Publisher) publisher: Publisher) {
    this.publisher = publisher;
  }
  async nothing() {
    return {};
  }
}

@injectable()
class Sink implements Silent {
  async nothing() {
    return {};
  }
  async handle(received: Received<z.infer<typeof SendRequest>>): Promise<void> {
    arrived.emit('send', received);
  }
}

const silent = { calls: [], migrations: [], settings: z.strictObject({}), parts: [], lifecycles: [] };
const sourceContract = contract<Silent>('source', { nothing: query({ input: Nothing, output: Nothing, timeoutMs: 1_000 }) });
const sinkContract = contract<Silent>('sink', { nothing: query({ input: Nothing, output: Nothing, timeoutMs: 1_000 }) });
const source = defineModule({ ...silent, name: 'source', contract: sourceContract, implementation: Source, subscriptions: [], publishes: [eventRecorded, personChanged] });
const sink = defineModule({ ...silent, name: 'sink', contract: sinkContract, implementation: Sink, subscriptions: [{ message: sendRequested, concurrency: 1, transactional: Sink }], publishes: [] });

test('wired as the product wires it: an event on the bus becomes a send request on the bus', { timeout: 20_000 }, async () => {
  const app = composeForTest({ modules: [source, triggerModule, sink] });
  await app.start();
  try {
    const stub = app.contract(trigger);
    const call = systemCall('test', 'w1', Date.now() + 20_000);
    const at = await stub.saveAutomation({ name: 'at once', rule: rule() }, call);
    const later = await stub.saveAutomation({ name: 'later', rule: rule({ waitMs: 50, event: 'later' }) }, call);
    const { publisher } = app.part('source', Source);
    for (const [name, { automationId }] of [['signed up', at], ['later', later]] as const) {
      const sent = once(arrived, 'send');
      const payload = { eventId: `e-${name}`, type: 'track' as const, name, properties: { n: 1 }, time: Date.now(), person: person('ada') };
      await publisher.publish(eventRecorded, payload, { workspace: 'w1' });
      const [{ payload: request, workspace }] = (await sent) as [Received<z.infer<typeof SendRequest>>];
      assert.deepEqual([workspace, request.personId, request.source.id, request.event], ['w1', 'ada', automationId, { n: 1 }]);
      assert.deepEqual(await stub.countRuns({ automationId }, call), { entered: 1, waiting: 0, sent: 1, left: {}, turnedAway: 0 });
    }
    await assert.rejects(stub.saveAutomation({ name: 'bad', rule: rule({ when: { field: 'event.a', op: 'gt', value: true } }) }, call), { code: 'invalid', reason: 'rule_invalid' });
  } finally {
    await app.dispose();
  }
});
