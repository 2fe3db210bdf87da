import { parentPort, workerData } from 'node:worker_threads';
import { keepDateFormats } from './cached-date-format.ts';
import { compileContent } from './compile.ts';
import { ParsedTemplate, TemplateProblems } from './liquid-engine.ts';
import { loadMjml } from './mjml-compiler.ts';
import type { RenderAnswer, RenderTask } from './protocol.ts';

/** The inside of a render worker: Liquid and MJML, nothing that reaches the network, the disk or other data. */
const { progress, templates: mostTemplates } = workerData as { progress: Int32Array; templates: number };
const port = parentPort!;
keepDateFormats();
/** In the order of their last use. */
const parsed = new Map<string, ParsedTemplate>();

port.on('message', (tasks: RenderTask[]) => {
  void work(tasks).then((answers) => port.postMessage(answers));
});

async function work(tasks: readonly RenderTask[]): Promise<RenderAnswer[]> {
  const answers: RenderAnswer[] = [];
  for (const task of tasks) {
    // Not the task's fault: loading counts as starting.
    if (task.kind === 'compile' && task.content.format === 'mjml') loadMjml();
    Atomics.store(progress, 0, task.ticket);
    answers.push(task.kind === 'render' ? render(task) : await compile(task));
    Atomics.store(progress, 0, 0);
  }
  return answers;
}

function render(task: RenderTask & { kind: 'render' }): RenderAnswer {
  try {
    const template = templateOf(task);
    if (template === undefined) return { ticket: task.ticket, kind: 'template_missing' };
    return { ticket: task.ticket, kind: 'parts', parts: template.render(task.data) };
  } catch (thrown) {
    return { ticket: task.ticket, kind: 'problems', problems: problemsIn(thrown) };
  }
}

function templateOf({ key, source }: RenderTask & { kind: 'render' }): ParsedTemplate | undefined {
  const known = parsed.get(key) ?? (source === undefined ? undefined : new ParsedTemplate(source));
  if (known === undefined) return undefined;
  parsed.delete(key);
  parsed.set(key, known);
  if (parsed.size > mostTemplates) parsed.delete(parsed.keys().next().value!);
  return known;
}

async function compile(task: RenderTask & { kind: 'compile' }): Promise<RenderAnswer> {
  try {
    const result = await compileContent(task.content);
    return 'parts' in result ? { ticket: task.ticket, kind: 'parts', parts: result.parts } : { ticket: task.ticket, kind: 'problems', problems: result.problems };
  } catch (thrown) {
    return { ticket: task.ticket, kind: 'problems', problems: problemsIn(thrown) };
  }
}

function problemsIn(thrown: unknown): TemplateProblems['problems'] {
  if (thrown instanceof TemplateProblems) return thrown.problems;
  return [{ part: 'body', line: 0, message: (thrown instanceof Error ? thrown.message : String(thrown)).slice(0, 300) }];
}
