import { inject, injectable } from 'inversify';
import { outbox } from '../../adapters/channel/outbox/driver.ts';
import { storageDrivers } from '../../adapters/storage/catalog.ts';
import { type Notification, notification, sendRequested } from '../../modules/notification/contract.ts';
import { notificationModule } from '../../modules/notification/module.ts';
import { personChanged, portal, templatePublished, type CompiledTemplate, type Person, type Portal } from '../../modules/portal/contract.ts';
import { Call } from '../../src/kernel/call.ts';
import { Fault } from '../../src/kernel/fault.ts';
import { newId } from '../../src/kernel/ids.ts';
import { Publisher, type Received } from '../../src/kernel/message.ts';
import { defineModule, type TransactionalHandler } from '../../src/kernel/module.ts';
import { deliveryUpdated, unsubscribed } from '../../modules/notification/contract.ts';
import type { Placement } from '../../src/fabric/placements.ts';
import type { Log } from '../../src/kernel/telemetry.ts';
import type { Channel } from '../../src/ports/channel.ts';
import { z } from 'zod';
import { composeForTest, type TestComposition } from './compose.ts';
import { testContext } from './context.ts';

type Compiled = z.infer<typeof CompiledTemplate>;
type Send = z.infer<(typeof sendRequested)['schema']>;

export const WORKSPACE = 'w1';

/** What stands in for portal's data; tests change it as they go. */
export interface PortalData {
  readonly people: Map<string, Person>;
  /** Whom somebody went up in. */
  readonly merged: Map<string, string>;
  readonly templates: Map<string, { version: number; compiled: Compiled }>;
  /** Calls that have been made: [method, how many ids]. */
  readonly calls: [string, number][];
  /** Thrown by every call while it is set. */
  away: Fault | null;
  /** Every call waits for it. */
  stuck?: Promise<void>;
}

export function person(personId: string, change: Partial<Person> = {}): Person {
  return { personId, version: 1, userId: personId, email: `${personId}@example.org`, attributes: { name: personId }, timeZone: null, consent: { email: 'unknown' }, gone: false, ...change };
}

export function compiled(change: Partial<Compiled> = {}): Compiled {
  return { subject: 'Hi {{ person.name }}', html: '<p>{{ person.name }}: {{ event.amount }} <a href="{{ unsubscribe_url }}">stop</a></p>', text: '{{ person.name }}: {{ event.amount }} {{ unsubscribe_url }}', from: null, ...change };
}

export interface NotificationRig {
  readonly composition: TestComposition;
  readonly api: Notification;
  readonly portal: PortalData;
  /** What notification has published. */
  readonly events: { name: string; payload: Record<string, unknown> }[];
  call(workspace?: string): Call;
  /** Publishes a send request as trigger would; answers the delivery's id. */
  ask(change?: Partial<Send>, options?: { readonly id?: string; readonly workspace?: string }): Promise<string>;
  publishTemplate(templateId: string, content: Compiled): Promise<void>;
  /** Has portal tell of a person as given. */
  publishPerson(changed: Person, mergedFrom?: string[]): Promise<void>;
  /** Resolves when the delivery has come to rest, and answers how. */
  rest(deliveryId: string, workspace?: string): ReturnType<Notification['track']>;
  /** The same for any other condition. */
  until<T>(probe: () => Promise<T | undefined | false>): Promise<T>;
  dispose(): Promise<void>;
}

export interface NotificationRigOptions {
  readonly channels?: ReadonlyMap<string, Channel>;
  readonly settings?: object;
  readonly dataDir?: string;
  readonly portal?: PortalData;
  /** Default `inline-strict`. */
  readonly placement?: Placement;
  readonly log?: Log;
}

/** Notification on a real database and bus, portal's two questions answered from memory. Started. */
export async function notificationRig(options: NotificationRigOptions = {}): Promise<NotificationRig> {
  const data = options.portal ?? { people: new Map(), merged: new Map(), templates: new Map(), calls: [], away: null };
  const events: NotificationRig['events'] = [];
  const outboxContext = testContext();
  const email = outbox.create(outbox.settings.parse({}), {
    ...outboxContext,
    name: 'email',
    openStorage: (name) => storageDrivers.sqlite.create(storageDrivers.sqlite.settings.parse({}), { ...outboxContext, name }),
  });
  const channels = options.channels ?? new Map([['email', email]]);
  for (const channel of channels.values()) await channel.start();
  const standIn = portalStandIn(data, events);
  const composition = composeForTest({
    modules: [standIn.module, notificationModule],
    channels,
    settings: { notification: options.settings ?? {} },
    ...(options.log === undefined ? {} : { log: options.log }),
    ...(options.placement === undefined ? {} : { placement: options.placement }),
    ...(options.dataDir === undefined ? {} : { dataDir: options.dataDir }),
  });
  await composition.start();
  const api = composition.contract(notification);
  const publisher = () => composition.part('portal', standIn.Publishing).publisher;
  const call = (workspace = WORKSPACE) => new Call({ workspace, actor: { kind: 'system', id: 'test' }, deadline: Date.now() + 60_000 });
  const until = async <T>(probe: () => Promise<T | undefined | false>): Promise<T> => {
    const giveUpAt = Date.now() + 60_000;
    for (;;) {
      const found = await probe();
      if (found !== undefined && found !== false) return found;
      if (Date.now() > giveUpAt) throw new Error('What was waited for did not come about in 60 s.');
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };
  return {
    composition,
    api,
    portal: data,
    events,
    call,
    until,
    async ask(change = {}, { id = newId(), workspace = WORKSPACE } = {}) {
      const source = { kind: 'automation' as const, id: 'a1', version: 1, runId: newId(), eventId: newId() };
      await publisher().publish(sendRequested, { personId: 'ada', templateId: 't1', channel: 'email', source, event: { amount: 5 }, ...change }, { workspace, id });
      return id;
    },
    async publishTemplate(templateId, content) {
      const version = (data.templates.get(templateId)?.version ?? 0) + 1;
      data.templates.set(templateId, { version, compiled: content });
      await publisher().publish(templatePublished, { templateId, version }, { workspace: WORKSPACE });
    },
    async publishPerson(changed, mergedFrom = []) {
      await publisher().publish(personChanged, { person: changed, mergedFrom }, { workspace: WORKSPACE });
    },
    rest: (deliveryId, workspace) =>
      until(async () => {
        const delivery = await api.track({ deliveryId }, call(workspace)).catch((fault: unknown) => {
          if (Fault.is(fault) && fault.code === 'not_found') return undefined;
          throw fault;
        });
        return delivery !== undefined && !['pending', 'sending'].includes(delivery.state) && delivery;
      }),
    async dispose() {
      await composition.dispose();
      for (const channel of channels.values()) await channel.stop(2_000);
      outboxContext.remove();
    },
  };
}

function portalStandIn(data: PortalData, events: NotificationRig['events']) {
  @injectable()
  class StandIn implements Portal {
    async getRecipients({ personIds }: { personIds: string[] }) {
      data.calls.push(['getRecipients', personIds.length]);
      await data.stuck;
      if (data.away) throw data.away;
      const merged = Object.fromEntries(personIds.flatMap((id) => (data.merged.has(id) ? [[id, data.merged.get(id)!]] : [])));
      return { people: [...personIds, ...Object.values(merged)].flatMap((id) => data.people.get(id) ?? []), merged };
    }

    async getTemplate({ templateId }: { templateId: string }) {
      data.calls.push(['getTemplate', 1]);
      await data.stuck;
      if (data.away) throw data.away;
      const found = data.templates.get(templateId);
      if (found === undefined) throw new Fault('not_found', 'No such template.', { reason: 'template_not_published' });
      return { templateId, name: templateId, ...found };
    }
  }
  @injectable()
  class Publishing {
    readonly publisher: Publisher;
    constructor(@inject(Publisher) publisher: Publisher) {
      this.publisher = publisher;
    }
  }
  @injectable()
  class Listener implements TransactionalHandler<Record<string, unknown>> {
    async handle({ name, payload }: Received<Record<string, unknown>>) {
      events.push({ name, payload });
    }
  }
  const module = defineModule({
    name: 'portal',
    contract: portal,
    implementation: StandIn,
    calls: [],
    migrations: [],
    subscriptions: [
      { message: deliveryUpdated, concurrency: 10, transactional: Listener },
      { message: unsubscribed, concurrency: 10, transactional: Listener },
    ],
    publishes: [sendRequested, personChanged, templatePublished],
    settings: z.strictObject({}),
    parts: [Publishing],
    lifecycles: [],
  });
  return { module, Publishing };
}

/** A channel whose answers the test writes. */
export class ScriptedChannel implements Channel {
  readonly capacity: number;
  pausedUntil: number | null = null;
  readonly sent: Parameters<Channel['send']>[0][] = [];
  answer: (message: Parameters<Channel['send']>[0], nth: number) => ReturnType<Channel['send']>;

  constructor(answer: ScriptedChannel['answer'] = async () => ({ kind: 'accepted', response: '250 ok', reason: '2.0.0' }), capacity = 20) {
    this.answer = answer;
    this.capacity = capacity;
  }

  async start(): Promise<void> {}
  async stop(): Promise<void> {}

  send(message: Parameters<Channel['send']>[0]): ReturnType<Channel['send']> {
    this.sent.push(message);
    return this.answer(message, this.sent.length);
  }

  async check() {
    return { ok: true, detail: 'scripted' };
  }
}
