import { VARIABLES } from '../app/config/environment.ts';
import { table, type Command } from './command.ts';

/** The help that `multilith --help` shows. */
export async function overview(commands: Readonly<Record<string, () => Promise<Command>>>): Promise<string> {
  const rows = await Promise.all(Object.values(commands).map(async (load) => load().then(({ name, summary }) => [name, summary] as const)));
  return [
    'multilith <command> [options]',
    '',
    'Sends the right message to the right person at the right time. One process to begin with;',
    'any module on its own host by one line of configuration.',
    '',
    'Commands',
    ...table(rows),
    '',
    '  multilith <command> --help explains a command and every option that it takes.',
    '',
    'Variables of the environment (each but the first two also as NAME_FILE, a file that holds the value)',
    ...table(VARIABLES.map(({ name, means }) => [name, means] as const)),
    '',
    'Exit codes: 0 done · 1 failed, or something is wrong · 2 wrong use or configuration',
    '',
  ].join('\n');
}
