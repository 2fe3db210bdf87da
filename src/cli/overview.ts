import { VARIABLES } from '../app/config/environment.ts';
import { table } from './command.ts';
import { commands } from './commands.ts';

/** The help that `multilith --help` shows. */
export function overview(): string {
  return [
    'multilith <command> [options]',
    '',
    'Sends the right message to the right person at the right time. One process to begin with;',
    'any module on its own host by one line of configuration.',
    '',
    'Commands',
    ...table(Object.entries(commands).map(([name, { summary }]) => [name, summary] as const)),
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
