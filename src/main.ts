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
  out: (text) => void process.stdout.write(`${text}\n`),
  error: (text) => void process.stderr.write(`${text}\n`),
};

async function main(argv: readonly string[]): Promise<number> {
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
process.stdout.on('error', () => process.exit(EXIT.failed));
process.exit(await main(process.argv.slice(2)).catch(report));
