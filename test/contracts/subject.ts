import { z } from 'zod';
import type { Call } from '../../src/kernel/call.ts';
import { command, contract, query } from '../../src/kernel/contract.ts';
import { Fault, type FaultCode } from '../../src/kernel/fault.ts';
import { AnyJson } from '../../src/kernel/json-schema.ts';

const Value = z.object({ value: AnyJson });
const Fail = z.object({ code: z.string(), reason: z.string() });
const Wait = z.object({ ms: z.int().min(0).max(60_000) });
const Entry = z.object({ entry: z.string() });
const Who = z.object({ workspace: z.string().nullable(), actor: z.string(), key: z.string().nullable(), traceId: z.string(), leftMs: z.int() });
const Empty = z.object({});

/** A contract made to be hard on its placement. */
export interface Subject {
  /** The request, untouched. */
  echo(request: z.infer<typeof Value>, call: Call): Promise<z.infer<typeof Value>>;
  /** What the callee is told of the call. */
  who(request: z.infer<typeof Empty>, call: Call): Promise<z.infer<typeof Who>>;
  fail(request: z.infer<typeof Fail>, call: Call): Promise<z.infer<typeof Empty>>;
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
  crash: query({ input: Empty, output: Empty, timeoutMs: 5_000 }),
  wait: query({ input: Wait, output: Empty, timeoutMs: 200 }),
  listen: query({ input: Wait, output: Empty, timeoutMs: 200 }),
  append: command({ input: Entry, output: z.object({ length: z.int() }), timeoutMs: 5_000 }),
  log: query({ input: Empty, output: z.object({ entries: z.array(z.string()) }), timeoutMs: 5_000 }),
  lie: query({ input: Empty, output: z.object({ count: z.int() }), timeoutMs: 5_000 }),
});

export class SubjectService implements Subject {
  readonly entries: string[] = [];
  /** What the signals of `listen` aborted with. */
  readonly heard: unknown[] = [];

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
  async crash(): Promise<Record<string, never>> {
    throw new TypeError('password=hunter2 leaked from the inside');
  }
  async wait({ ms }: z.infer<typeof Wait>): Promise<Record<string, never>> {
    await new Promise((resolve) => setTimeout(resolve, ms).unref());
    return {};
  }
  listen(_request: z.infer<typeof Wait>, call: Call): Promise<Record<string, never>> {
    return new Promise((_, reject) => {
      call.signal.addEventListener('abort', () => {
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
