import { parentPort, workerData } from 'node:worker_threads';
import { keepDateFormats } from './cached-date-format.ts';
import { compileContent } from './compile.ts';
import { ParsedTemplate, TemplateProblems } from './liquid-engine.ts';
import { loadMjml } from './mjml-compiler.ts';
import type { RenderAnswer, RenderOutcome, RenderTask } from './protocol.ts';
import { threadMs } from './render-time.ts';

/** The inside of a render worker: Liquid and MJML, nothing that reaches the network, the disk or other data. */
const { progress, templates: mostTemplates } = workerData as { progress: Int32Array; templates: number };
const port = parentPort!;
/** After so much processor time the rest of a batch goes back. */
const BATCH_MS = 50;
keepDateFormats();
/** In the order of their last use. */
const parsed = new Map<string, ParsedTemplate>();

port.on('message', (tasks: RenderTask[]) => {
  void work(tasks).then((answers) => port.postMessage(answers));
});

async function work(tasks: readonly RenderTask[]): Promise<RenderAnswer[]> {
  const answers: RenderAnswer[] = [];
  const began = threadMs();
  for (const task of tasks) {
    const before = threadMs();
    const outcome: RenderOutcome = before - began > BATCH_MS ? { kind: 'unstarted' } : await perform(task);
    answers.push({ ticket: task.ticket, ms: threadMs() - before, outcome });
  }
  return answers;
}

async function perform(task: RenderTask): Promise<RenderOutcome> {
  // Not the task's fault: loading counts as starting.
  if (task.kind === 'compile' && task.content.format === 'mjml') loadMjml();
  Atomics.store(progress, 0, task.ticket);
  const outcome = task.kind === 'compile' ? await compile(task) : task.kind === 'parse' ? parse(task) : render(task);
  Atomics.store(progress, 0, 0);
  return outcome;
}

function parse(task: RenderTask & { kind: 'parse' }): RenderOutcome {
  try {
    templateOf(task);
    return { kind: 'problems', problems: [] };
  } catch (thrown) {
    return { kind: 'problems', problems: problemsIn(thrown) };
  }
}

function render(task: RenderTask & { kind: 'render' }): RenderOutcome {
  try {
    const template = templateOf(task);
    return template === undefined ? { kind: 'template_missing' } : { kind: 'parts', parts: template.render(task.data) };
  } catch (thrown) {
    return { kind: 'problems', problems: problemsIn(thrown) };
  }
}

function templateOf({ key, source }: RenderTask & { kind: 'render' | 'parse' }): ParsedTemplate | undefined {
  const known = parsed.get(key) ?? (source === undefined ? undefined : new ParsedTemplate(source));
  if (known === undefined) return undefined;
  parsed.delete(key);
  parsed.set(key, known);
  if (parsed.size > mostTemplates) parsed.delete(parsed.keys().next().value!);
  return known;
}

async function compile(task: RenderTask & { kind: 'compile' }): Promise<RenderOutcome> {
  try {
    const result = await compileContent(task.content);
    return 'parts' in result ? { kind: 'parts', parts: result.parts } : { kind: 'problems', problems: result.problems };
  } catch (thrown) {
    return { kind: 'problems', problems: problemsIn(thrown) };
  }
}

function problemsIn(thrown: unknown): TemplateProblems['problems'] {
  if (thrown instanceof TemplateProblems) return thrown.problems;
  return [{ part: 'body', line: 0, message: (thrown instanceof Error ? thrown.message : String(thrown)).slice(0, 300) }];
}
