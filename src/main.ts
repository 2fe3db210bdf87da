import { ConfigError } from './app/config/problem.ts';
import { didYouMean } from './app/config/suggest.ts';
import { BootProblem } from './app/host/boot-problem.ts';
import { EXIT, helpOf, parse, UsageError, type Io } from './cli/command.ts';
import { commands } from './cli/commands.ts';
import { overview } from './cli/overview.ts';
import { Fault } from './kernel/fault.ts';

const io: Io = {
  env: process.env,
  cwd: process.cwd(),
  width: process.stdout.columns || undefined,
  out: (text) => void process.stdout.write(`${text}\n`),
  error: (text) => void process.stderr.write(`${text}\n`),
};

const OLDEST_NODE = 24;

async function main(argv: readonly string[]): Promise<number> {
  if (Number.parseInt(process.versions.node, 10) < OLDEST_NODE) throw new BootProblem(`Multilith needs Node ${OLDEST_NODE} or newer; this is ${process.version}.`, 'Run it as "npm start", which brings its own, or put a newer Node first in PATH.');
  const [name = 'help', ...rest] = argv;
  const topic = ['help', '--help', '-h'].includes(name) ? rest[0] : undefined;
  const wanted = topic ?? name;
  if (!Object.hasOwn(commands, wanted)) {
    if (topic === undefined && ['help', '--help', '-h'].includes(name)) return say(overview());
    throw new UsageError(`There is no command ${wanted}.${didYouMean(wanted, Object.keys(commands))}\nSee multilith --help.`);
  }
  const command = await commands[wanted]!.load();
  if (topic !== undefined || rest.includes('--help') || rest.includes('-h')) return say(helpOf(command));
  return command.run(parse(command, rest), io);
}

function say(text: string): number {
  io.out(text);
  return EXIT.ok;
}

/** What a person can act on is shown without a stack. */
function report(error: unknown): number {
  if (error instanceof UsageError || error instanceof ConfigError) io.error(error.message);
  else if (error instanceof BootProblem) io.error(`${error.message}\n${error.remedy}`);
  else if (Fault.is(error) && error.code !== 'internal') io.error(error.message);
  else io.error(error instanceof Error ? (error.stack ?? error.message) : String(error));
  return error instanceof UsageError || error instanceof ConfigError ? EXIT.usage : EXIT.failed;
}

// What it writes holds personal data and secrets, whoever made the folder.
process.umask(0o077);
// Whoever read our output may go away (`| head`); what the command does is not undone by that.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
process.exit(await main(process.argv.slice(2)).catch(report));
