import { z } from 'zod';
import { AnyJson, hashOf } from '../../kernel/json-schema.ts';
import { LANES } from '../../kernel/message.ts';
import type { BusWire } from '../../ports/bus.ts';
import { type Document, type JsonObject, ref } from './document.ts';
import type { Flow } from './flows.ts';
import { addPrograms, type ForPrograms } from './programs.ts';

const text = (description: string, more: JsonObject = {}): JsonObject => ({ type: 'string', description, ...more });
const time = (description: string): JsonObject => ({ type: 'integer', description: `${description} Milliseconds since 1970.` });

/** What goes with every payload, where the bus says nothing of its own wire. */
const HEADERS: JsonObject = {
  type: 'object',
  required: ['id', 'name', 'lane', 'time', 'traceId', 'spanId'],
  properties: {
    id: text('The same id twice has one effect.'),
    name: text("The message's name."),
    workspace: text('The tenant; left out for messages of none.'),
    key: text('Messages of one key are handled one at a time, in the order of publishing, where the queue is ordered.'),
    lane: text('Served strictly in this order.', { enum: LANES }),
    time: time('When it was published.'),
    notBefore: time('Not handed out before.'),
    traceId: text('W3C Trace Context.', { pattern: '^[0-9a-f]{32}$' }),
    spanId: text('W3C Trace Context.', { pattern: '^[0-9a-f]{16}$' }),
    attempt: { type: 'integer', minimum: 1, description: 'At delivery: 1 at the first try.' },
  },
};

/**
 * The AsyncAPI 3.0 document of these messages: a channel for each queue, and for each event the topic that it is
 * published to; an operation for each module that sends or receives. Where programs take part, how they do; else an
 * address is the plain name.
 */
export function asyncApiOf(flows: readonly Flow[], programs?: ForPrograms): JsonObject {
  const wire = programs?.wire;
  const channels: JsonObject = {};
  const operations: JsonObject = {};
  for (const flow of flows) describe(flow, wire, channels, operations);
  const components: Document['components'] = {
    messages: Object.fromEntries(flows.map((flow) => [flow.message.name, messageOf(flow)])),
    schemas: { ...payloadSchemas(flows), Headers: wire?.headers ?? HEADERS },
  };
  if (programs !== undefined) addPrograms(programs, { channels, operations, components });
  return {
    asyncapi: '3.0.0',
    info: {
      title: 'Multilith',
      version: '1',
      description: `The durable messages between the modules. An event goes to every subscriber, each with a queue of its own; a job to one worker. At least once on the wire: recognise a repeated message by its id.${wire === undefined ? '' : ' Programs may send to every channel of a queue or an event, and take messages from those that end in .work; header values are percent-encoded where they are not ASCII.'}`,
      'x-hash': hashOf({ channels, operations, components }),
    },
    defaultContentType: 'application/json',
    ...(wire === undefined ? {} : { servers: { bus: { host: wire.host, protocol: wire.protocol } } }),
    channels,
    operations,
    components,
  };
}

function describe({ message, publishers, queues }: Flow, wire: BusWire | undefined, channels: JsonObject, operations: JsonObject): void {
  const add = (id: string, address: string | undefined, more: JsonObject): void => {
    channels[id] = { address: address ?? id, messages: { [message.name]: ref('components', 'messages', message.name) }, ...more };
  };
  const operate = (module: string, action: 'send' | 'receive', channel: string): void => {
    operations[`${module}.${action}.${message.name}`] = { action, channel: ref('channels', channel), messages: [ref('channels', channel, 'messages', message.name)] };
  };
  if (message.kind === 'event') add(message.name, wire?.topic(message.name), { description: ['An event: a copy goes to the queue of each subscriber', ...queues.map(({ name }) => name)].join(', ') });
  else add(message.name, wire?.queue(message.name), { description: 'A job: one worker takes it.' });
  for (const { module, name, settings } of queues) {
    add(name, wire?.queue(name), {
      description: message.kind === 'job' ? `A job: a worker of ${module} takes it.` : `What ${module} has to do about the event ${message.name}.`,
      'x-attempts': settings.attempts,
      'x-backoff': settings.backoff,
      'x-ordered': settings.ordered,
    });
    operate(module, 'receive', name);
  }
  for (const module of publishers) operate(module, 'send', message.name);
}

function messageOf({ message: { name, kind, settings } }: Flow): JsonObject {
  return { name, contentType: 'application/json', headers: ref('components', 'schemas', 'Headers'), payload: ref('components', 'schemas', name), 'x-kind': kind, 'x-personal': [...(settings.personal ?? [])].sort() };
}

/** In draft 7, which AsyncAPI's own schemas extend; references stay inside this document. */
function payloadSchemas(flows: readonly Flow[]): JsonObject {
  const registry = z.registry<{ id: string }>();
  registry.add(AnyJson, { id: 'Json' });
  for (const { message } of flows) registry.add(message.schema, { id: message.name });
  const { schemas } = z.toJSONSchema(registry, { io: 'input', target: 'draft-7', uri: (id) => `#/components/schemas/${id}`, override: ({ jsonSchema }) => void jsonSchema.required?.sort() });
  const { __shared, ...named } = schemas as Record<string, JsonObject>;
  for (const [name, schema] of Object.entries((__shared?.definitions ?? {}) as Record<string, JsonObject>)) named[`Shared-${name}`] = schema;
  for (const schema of Object.values(named)) {
    delete schema.$schema;
    delete schema.$id;
  }
  return JSON.parse(JSON.stringify(named).replaceAll('#/components/schemas/__shared#/definitions/', '#/components/schemas/Shared-')) as JsonObject;
}
