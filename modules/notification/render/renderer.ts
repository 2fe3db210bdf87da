import { inject, injectable } from 'inversify';
import { createHash } from 'node:crypto';
import { Fault } from '../../../src/kernel/fault.ts';
import type { Lifecycle } from '../../../src/kernel/lifecycle.ts';
import { Settings } from '../../../src/kernel/module.ts';
import type { NotificationSettings } from '../settings.ts';
import type { Problem, TemplateSource } from './liquid-engine.ts';
import type { AuthoredContent } from './protocol.ts';
import { RenderLane, type LaneResult, type RenderWork } from './render-lane.ts';
import { SlowVersions } from './slow-versions.ts';

const HEAP_MB = { send: 96, author: 320 };
const TEMPLATES = { send: 500, slow: 50, author: 10 };
/** What is sent waits in its queue; an author's text of a megabyte waits in memory. */
const WAITING = { send: 10_000, author: 100 };
/** A template version that was killed so often is not tried again for a while: each try costs all others seconds. */
const KILLS_BEFORE_REST = 2;
const REST_MS = 60_000;
const MOST_RESTING = 1_000;

/** `quick` refuses a version that takes long, for callers that must not have it rendered in vain. */
export type Pace = 'quick' | 'any';

/**
 * Renders templates in worker threads that can be killed: one for what is being sent, one for versions that take long,
 * so that they delay only each other, one for what authors try out, so that a draft that never ends delays no mail.
 * Each starts when first needed and goes when idle.
 */
@injectable()
export class Renderer implements Lifecycle {
  readonly #send: RenderLane;
  readonly #slow: RenderLane;
  readonly #author: RenderLane;
  readonly #slowVersions = new SlowVersions();
  readonly #killed = new Map<string, { times: number; until: number }>();

  constructor(@inject(Settings) settings: NotificationSettings) {
    const { templateTimeoutMs: taskMs, rendererIdleMs: idleMs } = settings;
    const limits = { taskMs, idleMs, heapMb: HEAP_MB.send, waiting: WAITING.send };
    const note = (key: string, ms: number): void => this.#slowVersions.note(key, ms);
    this.#send = new RenderLane('render', { ...limits, templates: TEMPLATES.send }, { note, isTooSlow: (key) => this.#slowVersions.isSlow(key) });
    this.#slow = new RenderLane('render-slow', { ...limits, templates: TEMPLATES.slow }, { note, isTooSlow: () => false });
    this.#author = new RenderLane('compile', { ...limits, heapMb: HEAP_MB.author, waiting: WAITING.author, templates: TEMPLATES.author });
  }

  async start(): Promise<void> {}

  async stop(): Promise<void> {
    await Promise.all([this.#send, this.#slow, this.#author].map((lane) => lane.stop()));
  }

  /** Starts the thread for what is being sent, unless it runs, and has the version parsed there: what its first mail would wait for. */
  async warm(key: string, source: TemplateSource): Promise<void> {
    // A version that cannot be parsed says so when it is rendered.
    await this.#send.run({ kind: 'parse', key, source });
  }

  /**
   * Renders a version for one person. `key` names the version; the same key always comes with the same source.
   * Faults `invalid` with reason `template_failed` (details.problems), `template_timeout` or `template_memory`;
   * `exhausted` with reason `template_slow` (it takes long and `quick` was asked for) or `renderer_busy` (it takes long
   * and enough of it wait already; details.retryAfterMs).
   */
  async render(key: string, source: TemplateSource, data: object, pace: Pace = 'any'): Promise<TemplateSource> {
    this.#requireRested(key);
    const result = await this.#inItsLane({ kind: 'render', key, source, data }, pace);
    if (result.kind === 'killed') this.#noteKill(key);
    return partsOf(result, 'template_failed');
  }

  /** The same beside the sending, for templates that are not published. */
  async preview(source: TemplateSource, data: object): Promise<TemplateSource> {
    const key = createHash('sha256').update(JSON.stringify(source)).digest('base64url');
    return partsOf(await this.#author.run({ kind: 'render', key, source, data }), 'template_failed');
  }

  /** Fault `invalid` with reason `template_invalid` and details.problems. */
  async compile(content: AuthoredContent): Promise<TemplateSource> {
    return partsOf(await this.#author.run({ kind: 'compile', content }), 'template_invalid');
  }

  async #inItsLane(work: RenderWork, pace: Pace): Promise<LaneResult> {
    const result: LaneResult = this.#slowVersions.isSlow(work.key) ? { kind: 'too_slow' } : await this.#send.run(work);
    if (result.kind !== 'too_slow' || pace === 'quick') return result;
    const leave = this.#slowVersions.enter(work.key);
    return this.#slow.run(work).finally(leave);
  }

  #requireRested(key: string): void {
    const kills = this.#killed.get(key);
    if (kills === undefined || kills.times < KILLS_BEFORE_REST) return;
    if (Date.now() < kills.until) throw killedFault('template_timeout');
    this.#killed.delete(key);
  }

  #noteKill(key: string): void {
    const times = (this.#killed.get(key)?.times ?? 0) + 1;
    this.#killed.delete(key);
    this.#killed.set(key, { times, until: Date.now() + REST_MS });
    if (this.#killed.size > MOST_RESTING) this.#killed.delete(this.#killed.keys().next().value!);
  }
}

function partsOf(result: LaneResult, reason: string): TemplateSource {
  if (result.kind === 'parts') return result.parts;
  if (result.kind === 'killed') throw killedFault(result.why);
  if (result.kind === 'too_slow') throw new Fault('exhausted', 'The template takes long to render.', { reason: 'template_slow' });
  const problems = result.problems.slice(0, 50);
  throw new Fault('invalid', `The template does not work: ${problems.map(words).join('; ')}`.slice(0, 1_000), { reason, details: { problems: problems.map((problem) => ({ ...problem })) } });
}

function killedFault(why: 'template_timeout' | 'template_memory'): Fault {
  const message = why === 'template_timeout' ? 'took too long and was stopped' : 'needed too much memory and was stopped';
  return new Fault('invalid', `The template ${message}.`, { reason: 'template_failed', details: { why, problems: [{ part: 'body', line: 0, message }] } });
}

function words(problem: Problem): string {
  return problem.line > 0 ? `${problem.part}, line ${problem.line}: ${problem.message}` : `${problem.part}: ${problem.message}`;
}
