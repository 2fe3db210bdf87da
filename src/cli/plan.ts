import { readConfig, type ConfigSources } from '../app/config/config.ts';
import { formatProblem, formatProblems, type Problem } from '../app/config/problem.ts';
import { parts } from '../app/parts.ts';
import { differenceOf, type Change } from '../app/plan/difference.ts';
import { columns, planText } from '../app/plan/plan-text.ts';
import { planOf, type Plan } from '../app/plan/plan.ts';
import { EXIT, type Command, type Io } from './command.ts';
import { folded } from './folded.ts';
import { CONFIG_OPTIONS, sourcesOf } from './configuration.ts';

export const plan: Command = {
  name: 'plan',
  usage: '[--against FILE] [--json] [options]',
  details: `Prints hosts, modules, every call from module to module with how it is made, its deadlines and its
cache, every message with its queue, the drivers, and everything that is wrong, all at once.
With --against it prints what a change from FILE (without the --set given here) to this topology
moves. Starts and opens nothing.

Exit codes: 0 nothing is wrong · 1 something is · 2 wrong option.`,
  options: {
    ...CONFIG_OPTIONS,
    against: { value: 'FILE', help: 'Another topology: print what changes from it to this one.' },
    json: { help: 'JSON for programs; the whole configuration is in it, secrets redacted.' },
  },
  async run(args, io) {
    const [here, ok] = read(sourcesOf(args, io), io);
    const against = args.text('against');
    const [there, okThere] = against === undefined ? [undefined, true] : read({ ...sourcesOf(args, io), topology: against, topologyOption: '--against', sets: [] }, io);
    if (against !== undefined && here.plan && there?.plan) show(differenceOf(there.plan, here.plan), args.flag('json'), io, changesText);
    else show(against === undefined ? here : { here, there }, args.flag('json'), io, () => [here, there].map((one) => (one?.plan ? planText(one.plan) : '')).filter(Boolean).join('\n\n'));
    return ok && okThere ? EXIT.ok : EXIT.failed;
  },
};

interface Read {
  readonly problems: readonly Problem[];
  readonly plan?: Plan;
}

function read(sources: ConfigSources, io: Io): [Read, boolean] {
  const { config, problems } = readConfig(sources, parts);
  if (config === undefined) {
    io.error(formatProblems(problems));
    return [{ problems }, false];
  }
  for (const warning of problems) io.error(formatProblem(warning));
  const made = planOf(config, parts);
  return [{ problems, plan: made }, made.findings.every(({ severity }) => severity !== 'error')];
}

function show<T>(value: T, json: boolean, io: Io, text: (value: T) => string): void {
  const output = json ? JSON.stringify(value, undefined, 2) : text(value);
  if (output !== '') io.out(json ? output : folded(output, io.width));
}

function changesText(changes: readonly Change[]): string {
  if (changes.length === 0) return 'Nothing changes.';
  return ['What changes', ...columns(changes.map(({ kind, what, from, to, means }) => [kind, what, `${from ?? 'nothing'} → ${to ?? 'nothing'}`, means ?? '']))].join('\n');
}
