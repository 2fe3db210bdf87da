import { readFileSync } from 'node:fs';
import type { Layer } from './layers.ts';
import type { Problem } from './problem.ts';
import { smtpSettings } from './smtp-url.ts';
import { didYouMean } from './suggest.ts';
import { treeWith, type Tree } from './tree.ts';

export interface Variable {
  readonly name: string;
  readonly means: string;
  /** The settings that a value stands for. A throw says what the value should look like. */
  readonly read?: (value: string) => Tree;
  readonly secret?: boolean;
}

const sets = (...path: string[]) => (value: string) => treeWith(path, value);

/** Every variable of the environment that is read. Each but the first two may also be given as NAME_FILE, a file that holds the value. */
export const VARIABLES: readonly Variable[] = [
  { name: 'MULTILITH_TOPOLOGY', means: 'the topology file, as --topology' },
  { name: 'MULTILITH_HOST', means: 'which host of the topology this process is, as --host' },
  { name: 'MULTILITH_DATA', means: 'the folder for durable files (data)', read: sets('data') },
  { name: 'MULTILITH_HTTP_LISTEN', means: 'address and port of the web server (http.listen)', read: sets('http', 'listen') },
  { name: 'MULTILITH_PUBLIC_URL', means: 'the address that people reach this installation at (publicUrl)', read: sets('publicUrl') },
  { name: 'MULTILITH_LOG_LEVEL', means: 'debug, info, warn or error (log.level)', read: sets('log', 'level') },
  { name: 'MULTILITH_SMTP_URL', means: 'smtp://user:password@host:port sends mail by SMTP (channels.email)', read: smtpSettings, secret: true },
  { name: 'MULTILITH_PEER_SECRET', means: 'what the hosts of a topology know each other by (peers.secret)', read: sets('peers', 'secret'), secret: true },
  { name: 'MULTILITH_MAIL_FROM', means: 'who mails come from when a template names nobody, e.g. "Harbor Lane <hello@agency.example>" (modules.notification.sender)', read: senderSettings },
];

function senderSettings(value: string): Tree {
  const [, name, email] = /^\s*(?:"?([^"<>]*?)"?\s*)<([^<>\s]+@[^<>\s]+)>\s*$/.exec(value.includes('<') ? value : `<${value.trim()}>`) ?? [];
  if (email === undefined) throw new TypeError('must look like Name <address@example.org>');
  return treeWith(['modules', 'notification', 'sender'], { name: name ?? '', email });
}

/** Set by the project's own scripts for the processes that they start. */
const FOR_SCRIPTS = ['MULTILITH_LAUNCHER', 'MULTILITH_FAULTS'];

/** The settings that the environment gives. An empty variable counts as none. */
export function environmentLayers(env: NodeJS.ProcessEnv, cwd: string, problems: Problem[]): Layer[] {
  warnOfUnknown(env, problems);
  return VARIABLES.flatMap((variable): Layer[] => {
    if (variable.read === undefined) return [];
    const given = valueOf(variable.name, env, problems);
    if (given === undefined) return [];
    try {
      return [{ source: given.source, tree: variable.read(given.value), folder: cwd }];
    } catch (error) {
      const found = variable.secret ? {} : { found: JSON.stringify(given.value) };
      problems.push({ severity: 'error', path: '', source: given.source, expected: (error as Error).message, ...found });
      return [];
    }
  });
}

function valueOf(name: string, env: NodeJS.ProcessEnv, problems: Problem[]): { value: string; source: string } | undefined {
  const file = env[`${name}_FILE`];
  const value = env[name];
  if (value && file) problems.push({ severity: 'error', path: '', source: name, expected: `give either ${name} or ${name}_FILE` });
  if (value) return { value, source: name };
  if (!file) return undefined;
  const read = readSecretFile(file);
  if (typeof read === 'string') return { value: read, source: `${name}_FILE` };
  problems.push({ severity: 'error', path: '', source: `${name}_FILE`, found: JSON.stringify(file), expected: read.problem });
  return undefined;
}

/** The text of a small file without the line end that editors add. */
export function readSecretFile(file: string): string | { readonly problem: string } {
  try {
    const text = readFileSync(file, 'utf8').replace(/\r?\n$/, '');
    return text === '' || text.length > 65_536 ? { problem: 'must name a file that holds the value' } : text;
  } catch (error) {
    return { problem: `must name a file that can be read, and ${file} cannot (${(error as NodeJS.ErrnoException).code})` };
  }
}

/** A warning only: service discovery of container platforms invents variables from the service's name. */
function warnOfUnknown(env: NodeJS.ProcessEnv, problems: Problem[]): void {
  const known = [...VARIABLES.flatMap(({ name, read }) => (read === undefined ? [name] : [name, `${name}_FILE`])), ...FOR_SCRIPTS];
  for (const name of Object.keys(env)) {
    if (!name.startsWith('MULTILITH_') || known.includes(name)) continue;
    problems.push({ severity: 'warning', path: '', source: name, expected: `no such variable is read.${didYouMean(name, known)}` });
  }
}
