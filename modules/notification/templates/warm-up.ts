import { inject, injectable } from 'inversify';
import { deadlineFault } from '../../../src/kernel/call.ts';
import { Clock, type EpochMs } from '../../../src/kernel/clock.ts';
import { Fault } from '../../../src/kernel/fault.ts';
import type { Lifecycle } from '../../../src/kernel/lifecycle.ts';
import { Settings } from '../../../src/kernel/module.ts';
import { Log } from '../../../src/kernel/telemetry.ts';
import type { PublishedTemplate } from '../../portal/contract.ts';
import { sourceOf, versionKey } from '../deliveries/preparation.ts';
import { Renderer } from '../render/renderer.ts';
import type { NotificationSettings } from '../settings.ts';
import { type TemplateUse, TemplateUses } from './template-uses.ts';
import { charsOf, Templates } from './templates.ts';

const MOST_TEMPLATES = 50;
const USED_WITHIN_MS = 7 * 24 * 3_600_000;
const AT_ONCE = 8;
/** What the renderer holds besides is for what is sent now. */
const MOST_CHARS = 8_000_000;

/**
 * Before the module takes in work, the templates that it used last are fetched and parsed, the newest use first.
 *
 * It ends when all are done or enough, when one cannot be had, or after `warmUpMs`, whichever comes first; then the
 * module is ready, nothing more is begun, and what is cold is fetched by its first mail. Portal may be on a host that starts too:
 * the wait has an end, and nothing of portal's start waits for notification, so that neither can hold up the other.
 */
@injectable()
export class WarmUp implements Lifecycle {
  readonly #uses: TemplateUses;
  readonly #templates: Templates;
  readonly #renderer: Renderer;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #mostMs: number;

  constructor(@inject(TemplateUses) uses: TemplateUses, @inject(Templates) templates: Templates, @inject(Renderer) renderer: Renderer, @inject(Clock) clock: Clock, @inject(Log) log: Log, @inject(Settings) settings: NotificationSettings) {
    this.#uses = uses;
    this.#templates = templates;
    this.#renderer = renderer;
    this.#clock = clock;
    this.#log = log;
    this.#mostMs = settings.warmUpMs;
  }

  async start(): Promise<void> {
    if (this.#mostMs === 0) return;
    const began = this.#clock.now();
    const used = await this.#uses.newest(began - USED_WITHIN_MS, MOST_TEMPLATES);
    if (used.length === 0) return;
    const run = new Run(used, began + this.#mostMs);
    await Promise.all(Array.from({ length: AT_ONCE }, () => this.#work(run)));
    const figures = { templates: run.warm, of: used.length, ms: this.#clock.now() - began };
    if (run.problem === undefined) this.#log.info(figures, 'templates are warm');
    else this.#log.warn({ ...figures, err: run.problem }, 'not all templates are warm; their first mails fetch them');
  }

  async stop(): Promise<void> {}

  async #work(run: Run): Promise<void> {
    for (let use = run.next(this.#clock.now()); use !== undefined; use = run.next(this.#clock.now())) {
      try {
        await this.#warm(use, run);
      } catch (problem) {
        run.end(problem);
      }
    }
  }

  async #warm(use: TemplateUse, run: Run): Promise<void> {
    try {
      const { version, compiled } = await this.#templates.warm(use.workspace, use.templateId, run.until);
      await this.#by(run.until, this.#renderer.warm(versionKey(use.workspace, use.templateId, version), sourceOf(compiled)));
      run.note(compiled);
    } catch (fault) {
      if (!Fault.is(fault) || fault.code !== 'not_found') throw fault;
      await this.#uses.forget(use);
    }
  }

  /** What has been given to the renderer by then is not taken back: it is in front of the first mails. */
  async #by(until: EpochMs, work: Promise<void>): Promise<void> {
    const late = Promise.withResolvers<void>();
    const timer = this.#clock.at(until, () => late.reject(deadlineFault()));
    await Promise.race([work, late.promise]).finally(() => timer.cancel());
  }
}

/** One warm-up: what is left to do, and how far it has come. */
class Run {
  readonly until: EpochMs;
  readonly #left: TemplateUse[];
  #chars = 0;
  #warm = 0;
  #problem: unknown;

  constructor(uses: readonly TemplateUse[], until: EpochMs) {
    this.#left = [...uses];
    this.until = until;
  }

  get warm(): number {
    return this.#warm;
  }

  /** The first that went wrong. */
  get problem(): unknown {
    return this.#problem;
  }

  next(now: EpochMs): TemplateUse | undefined {
    if (this.#left.length > 0 && now >= this.until) this.end(deadlineFault());
    return this.#problem === undefined && this.#chars < MOST_CHARS ? this.#left.shift() : undefined;
  }

  note(compiled: PublishedTemplate['compiled']): void {
    this.#warm++;
    this.#chars += charsOf(compiled);
  }

  end(problem: unknown): void {
    this.#problem ??= problem;
  }
}
