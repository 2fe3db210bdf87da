import { setTimeout as pause } from 'node:timers/promises';
import { z } from 'zod';
import { newId } from '../../../src/kernel/ids.ts';
import type { Connection } from './connection.ts';

const ANSWER_MS = 2_000;
/** By the names of the statistics plugin, for people, and the setting of the broker's. */
const LIMITS = { store: { name: 'disk', setting: 'storeUsage (mq.store)' }, memory: { name: 'memory', setting: 'memoryUsage' }, temp: { name: 'temporary space', setting: 'tempUsage' } } as const;

const Answer = z.object({ map: z.object({ entry: z.array(z.object({ string: z.union([z.string(), z.array(z.string())]), int: z.number().optional() })) }) });

/** How much of its limits a broker uses, for people. */
export interface Fill {
  readonly detail: string;
  /** What to do; left out while nothing is full. */
  readonly remedy?: string;
}

/**
 * Asks the broker's statistics plugin. Undefined where it has none, or not the libraries for JSON: then the connection,
 * which is to be used for nothing else, may end.
 */
export async function fillOf(connection: Connection): Promise<Fill | undefined> {
  const { promise: answered, resolve } = Promise.withResolvers<string>();
  const answers = `/temp-queue/fill-${newId()}`;
  connection.subscribe(answers, { prefetch: 1, auto: true, transformation: 'jms-map-json' }, ({ body }) => resolve(body.toString()));
  connection.post({ destination: '/queue/ActiveMQ.Statistics.Broker', headers: { 'reply-to': answers }, body: Buffer.alloc(0), persistent: false });
  const late = new AbortController();
  const answer = await Promise.race([answered, connection.lost.then(() => undefined), pause(ANSWER_MS, undefined, { signal: late.signal }).catch(() => undefined)]);
  late.abort();
  return answer === undefined ? undefined : fillIn(answer);
}

/** `answer`: a Java map in JSON, a list of entries that hold key and value under the names of their types. */
function fillIn(answer: string): Fill {
  const percents = new Map(Answer.parse(JSON.parse(answer)).map.entry.map(({ string, int }) => [string, int]));
  const used = Object.entries(LIMITS).flatMap(([limit, words]) => {
    const percent = percents.get(`${limit}PercentUsage`);
    return percent === undefined ? [] : [{ ...words, percent }];
  });
  const full = used.filter(({ percent }) => percent >= 100);
  return {
    detail: `in use: ${used.map(({ name, percent }) => `${name} ${percent} %`).join(', ')}`,
    ...(full.length > 0 && { remedy: `Let messages be worked off, or give the broker a larger ${full.map(({ setting }) => setting).join(' and ')}.` }),
  };
}
