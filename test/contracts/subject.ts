import { z } from 'zod';
import type { Call } from '../../src/kernel/call.ts';
import { command, contract, query } from '../../src/kernel/contract.ts';
import { Fault, type FaultCode, type FaultOrigin } from '../../src/kernel/fault.ts';
import { AnyJson } from '../../src/kernel/json-schema.ts';

const Value = z.object({ value: AnyJson });
const Fail = z.object({ code: z.string(), reason: z.string() });
const Wait = z.object({ ms: z.int().min(0).max(60_000) });
const Entry = z.object({ entry: z.string() });
const Who = z.object({ workspace: z.string().nullable(), actor: z.string(), key: z.string().nullable(), traceId: z.string(), leftMs: z.int() });
const Nested = z.object({ origin: z.enum(['reply', 'unsent', 'lost']) });
const Empty = z.object({});
/** A little of everything that a schema can ask for. */
export const Mixture = z.object({
  text: z.string().min(1).max(20),
  count: z.int().min(0).max(1_000),
  share: z.number().gt(0).max(1),
  state: z.enum(['queued', 'sent', 'failed']),
  note: z.string().optional(),
  at: z.int().nullable(),
  tags: z.array(z.string()).max(3),
  labels: z.record(z.string(), z.union([z.string(), z.boolean()])),
  place: z.tuple([z.number(), z.number()]),
  target: z.discriminatedUnion('kind', [z.object({ kind: z.literal('person'), id: z.string() }), z.object({ kind: z.literal('segment'), size: z.int() })]),
  free: AnyJson,
});

/** A contract made to be hard on its placement. */
export interface Subject {
  /** The request, untouched. */
  echo(request: z.infer<typeof Value>, call: Call): Promise<z.infer<typeof Value>>;
  /** What the callee is told of the call. */
  who(request: z.infer<typeof Empty>, call: Call): Promise<z.infer<typeof Who>>;
  fail(request: z.infer<typeof Fail>, call: Call): Promise<z.infer<typeof Empty>>;
  /** Passes on the fault of a call that it made in turn. */
  nested(request: z.infer<typeof Nested>, call: Call): Promise<z.infer<typeof Empty>>;
  /** The request, which has to be just so. */
  mix(request: z.infer<typeof Mixture>, call: Call): Promise<z.infer<typeof Mixture>>;
  /** Throws something that is not a Fault. */
  crash(request: z.infer<typeof Empty>, call: Call): Promise<z.infer<typeof Empty>>;
  /** Answers after a while, whatever the signal says. */
  wait(request: z.infer<typeof Wait>, call: Call): Promise<z.infer<typeof Empty>>;
  /** Ends as soon as its signal aborts; answers how. */
  listen(request: z.infer<typeof Wait>, call: Call): Promise<z.infer<typeof Empty>>;
  append(request: z.infer<typeof Entry>, call: Call): Promise<{ length: number }>;
  log(request: z.infer<typeof Empty>, call: Call): Promise<{ entries: string[] }>;
  /** Answers what its contract does not allow. */
  lie(request: z.infer<typeof Empty>, call: Call): Promise<{ count: number }>;
}

export const subject = contract<Subject>('subject', {
  echo: query({ input: Value, output: Value, timeoutMs: 5_000 }),
  who: query({ input: Empty, output: Who, timeoutMs: 5_000 }),
  fail: query({ input: Fail, output: Empty, timeoutMs: 5_000, faults: ['declared_reason'] }),
  nested: query({ input: Nested, output: Empty, timeoutMs: 5_000 }),
  mix: query({ input: Mixture, output: Mixture, timeoutMs: 5_000 }),
  crash: query({ input: Empty, output: Empty, timeoutMs: 5_000 }),
  wait: query({ input: Wait, output: Empty, timeoutMs: 200 }),
  listen: query({ input: Wait, output: Empty, timeoutMs: 500 }),
  append: command({ input: Entry, output: z.object({ length: z.int() }), timeoutMs: 5_000 }),
  log: query({ input: Empty, output: z.object({ entries: z.array(z.string()) }), timeoutMs: 5_000 }),
  lie: query({ input: Empty, output: z.object({ count: z.int() }), timeoutMs: 5_000 }),
});

export class SubjectService implements Subject {
  readonly entries: string[] = [];
  /** What the signals of `listen` aborted with. */
  readonly heard: unknown[] = [];
  /** Calls of `listen` under way. */
  listening = 0;

  async echo(request: z.infer<typeof Value>): Promise<z.infer<typeof Value>> {
    return request;
  }
  async who(_request: object, call: Call): Promise<z.infer<typeof Who>> {
    return {
      workspace: call.workspace,
      actor: `${call.actor.kind}:${call.actor.id}`,
      key: call.idempotencyKey ?? null,
      traceId: call.trace.traceId,
      leftMs: Math.round(call.leftMs(Date.now())),
    };
  }
  async fail({ code, reason }: z.infer<typeof Fail>): Promise<Record<string, never>> {
    throw new Fault(code as FaultCode, 'As asked.', { reason, details: { list: [1, 'two', null] } });
  }
  async nested({ origin }: { origin: FaultOrigin }): Promise<Record<string, never>> {
    throw new Fault('unavailable', 'Somebody further on is away.', { reason: 'not_connected', origin });
  }
  async mix(request: z.infer<typeof Mixture>): Promise<z.infer<typeof Mixture>> {
    return request;
  }
  async crash(): Promise<Record<string, never>> {
    throw new TypeError('password=hunter2 leaked from the inside');
  }
  async wait({ ms }: z.infer<typeof Wait>): Promise<Record<string, never>> {
    await new Promise((resolve) => setTimeout(resolve, ms).unref());
    return {};
  }
  listen(_request: z.infer<typeof Wait>, call: Call): Promise<Record<string, never>> {
    this.listening++;
    return new Promise((_, reject) => {
      call.signal.addEventListener('abort', () => {
        this.listening--;
        this.heard.push(call.signal.reason);
        reject(call.signal.reason as Error);
      });
    });
  }
  async append({ entry }: z.infer<typeof Entry>): Promise<{ length: number }> {
    return { length: this.entries.push(entry) };
  }
  async log(): Promise<{ entries: string[] }> {
    return { entries: [...this.entries] };
  }
  async lie(): Promise<{ count: number }> {
    return { count: 'many' as unknown as number };
  }
}
