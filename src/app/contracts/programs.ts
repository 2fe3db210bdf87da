import type { BusWire, QueueSettings } from '../../ports/bus.ts';
import { isOfPrograms } from '../config/worker-queues.ts';
import { type Document, type JsonObject, ref } from './document.ts';

/** What programs of other languages reach: the wire of the bus, and the queues that it hands out to them. */
export interface ForPrograms {
  readonly wire: BusWire;
  readonly workers: readonly QueueSettings[];
}

/** Names of channels and messages that are of no queue and no event. */
const ANSWER = 'answer';
const REFUSED = 'refused';
const ANY_JSON = ref('components', 'schemas', 'Json');

/**
 * Adds how programs take part: a channel `<queue>.work` for each queue that is handed out, with the answer to each
 * message; one for jobs that programs send to it, and for each event of theirs; and what was refused.
 */
export function addPrograms({ wire, workers }: ForPrograms, document: Document): void {
  const { work } = wire;
  const { schemas, messages } = document.components;
  Object.assign(schemas, { WorkHeaders: work.headers, AnswerHeaders: work.answers.headers, RefusedHeaders: work.refused.headers });
  messages[ANSWER] = { name: ANSWER, contentType: 'text/plain', headers: ref('components', 'schemas', 'AnswerHeaders'), payload: { type: 'string', maxLength: 2_000, description: 'The reason of a retry or dead, for whoever looks at the queue; else empty. Nothing personal.' } };
  messages[REFUSED] = { name: REFUSED, headers: ref('components', 'schemas', 'RefusedHeaders'), payload: {} };
  document.channels.answers = { address: work.answers.address, messages: { [ANSWER]: ref('components', 'messages', ANSWER) }, description: 'What has become of messages that were handed out: sent in one STOMP transaction with the ACK, except working.' };
  document.channels.refused = { address: work.refused.address, messages: { [REFUSED]: ref('components', 'messages', REFUSED) }, description: 'What was sent in and could not be taken, as it came, with the reason.' };
  document.operations['programs.receive.refused'] = { action: 'receive', channel: ref('channels', 'refused') };
  for (const event of new Set(workers.flatMap(({ topics }) => topics.filter(isOfPrograms)))) addSending(event, wire.topic(event), 'An event that programs publish to each other.', document);
  for (const queue of workers) {
    addSending(queue.name, wire.queue(queue.name), `A job for the workers of ${queue.name}.`, document);
    addWork(queue, wire, document);
  }
}

/** What programs alone send: its payload is theirs. */
function addSending(name: string, address: string, description: string, { channels, operations, components }: Document): void {
  components.messages[name] = { name, contentType: 'application/json', headers: ref('components', 'schemas', 'Headers'), payload: ANY_JSON };
  channels[name] = { address, messages: { [name]: ref('components', 'messages', name) }, description };
  operations[`programs.send.${name}`] = { action: 'send', channel: ref('channels', name) };
}

function addWork({ name, topics, attempts, backoff, ordered }: QueueSettings, { work }: BusWire, { channels, operations, components }: Document): void {
  const channel = `${name}.work`;
  const taken = [name, ...topics];
  for (const message of taken) components.messages[`${message}.work`] = { ...(components.messages[message] as JsonObject), headers: ref('components', 'schemas', 'WorkHeaders') };
  channels[channel] = {
    address: work.address(name),
    messages: Object.fromEntries(taken.map((message) => [message, ref('components', 'messages', `${message}.work`)])),
    description: `What the workers of ${name} are given, each message to one of them. Subscribe with ack:client and activemq.prefetchSize:1, and answer in the order of the messages.`,
    'x-attempts': attempts,
    'x-backoff': backoff,
    'x-ordered': ordered,
  };
  operations[`${name}.receive`] = { action: 'receive', channel: ref('channels', channel), reply: { channel: ref('channels', 'answers'), messages: [ref('channels', 'answers', 'messages', ANSWER)] } };
}
