import { execFileSync, spawn } from 'node:child_process';
import { chownSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import { rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { PostgresSettings } from '../../../adapters/storage/postgres/driver.ts';
import { clientConfig, Session } from '../../../adapters/storage/postgres/session.ts';
import { BootProblem } from '../host/boot-problem.ts';
import { syncFolder } from '../host/durable-file.ts';
import type { Needed } from './broker.ts';
import type { ServerProgram } from './local-server.ts';

/** Where Debian has it, with a folder for each version. */
const VERSIONS = '/usr/lib/postgresql';
/** Debian's: PostgreSQL does not run as root. */
const USER = 'postgres';
/** Beyond the modules' roles nobody comes in, its superuser neither. */
const WHO_MAY = 'host all all 127.0.0.1/32 scram-sha-256\n';
const LAST_WORDS = 4_000;
const ANSWER_MS = 2_000;
/** How long processes of a server that was killed may hold on to its data, and how often it is looked. */
const LET_GO_MS = 10_000;
const LOOK_MS = 250;

/** A module's role and schema, which are made where they are not there. */
export interface Tenant {
  /** Its `passwordFile` is absolute. */
  readonly settings: PostgresSettings;
  readonly schema: string;
}

export interface PostgresOptions {
  /** For its data and its log. */
  readonly directory: string;
  /** All at one port and in one database; at least one. */
  readonly tenants: readonly [Tenant, ...Tenant[]];
  readonly password: string;
}

/** The version that has made the data; else the newest that is installed. */
export function postgresNeeds(directory: string): Needed {
  const version = versionFor(directory);
  return version === undefined ? { package: 'postgresql', file: program('*', 'postgres') } : { package: `postgresql-${version}`, file: program(version, 'postgres') };
}

/** One PostgreSQL server on loopback, for these modules alone. */
export function postgresServer({ directory, tenants, password }: PostgresOptions): ServerProgram {
  const [{ settings, schema }] = tenants;
  const version = versionFor(directory)!;
  const data = join(directory, 'data');
  const options = {
    port: settings.port,
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    logging_collector: 'on',
    log_directory: join(directory, 'log'),
    // One file for each day of the week.
    log_filename: 'postgresql-%a.log',
    log_rotation_age: '1d',
    log_truncate_on_rotation: 'on',
    // Details and statements may hold values.
    log_error_verbosity: 'terse',
    log_min_error_statement: 'panic',
  };
  return {
    name: 'PostgreSQL',
    directory,
    command: [...asUser(), program(version, 'postgres'), '-D', data, ...Object.entries(options).flatMap(([name, value]) => ['-c', `${name}=${value}`])],
    env: {},
    // Its "fast" one: SIGTERM would wait for clients that may not know of the stop.
    stopSignal: 'SIGINT',
    prepare: async (signal) => {
      if (!existsSync(data)) await make(directory, version, settings.database, signal);
      if (signal.aborted) return;
      await writeFile(join(data, 'pg_hba.conf'), WHO_MAY);
      await alone(version, data, settings.database, statementsFor(tenants, password), signal);
    },
    answers: () =>
      Session.open(clientConfig({ ...settings, connectTimeoutMs: ANSWER_MS }, schema, 'servers', 'reader')).then(
        (session) => session.close(ANSWER_MS).then(() => true),
        () => false,
      ),
  };
}

/** Whole, or not there. */
async function make(directory: string, version: string, database: string, signal: AbortSignal): Promise<void> {
  const draft = join(directory, 'data.new');
  await rm(draft, { recursive: true, force: true });
  if (asUser().length > 0) chownSync(directory, idOf('-u'), idOf('-g'));
  const said = await run([program(version, 'initdb'), '-D', draft, '-U', 'postgres', '-A', 'reject', '-E', 'UTF8', '--locale=C.UTF-8', '--data-checksums'], '', signal);
  if (signal.aborted) return;
  if (said !== undefined) throw problem(draft, said);
  await alone(version, draft, 'postgres', [`create database ${name(database)}`], signal);
  if (signal.aborted) return;
  await rename(draft, join(directory, 'data'));
  await syncFolder(directory);
}

/** What is the same however often it is done. */
function statementsFor(tenants: readonly Tenant[], password: string): string[] {
  const [{ settings: { database } }] = tenants as PostgresOptions['tenants'];
  const roles = [...new Set(tenants.map(({ settings }) => settings.user))];
  return [
    `revoke all on database ${name(database)} from public`,
    'revoke all on schema public from public',
    ...roles.flatMap((role) => [
      `do $$ begin if not exists (select from pg_roles where rolname = ${text(role)}) then create role ${name(role)}; end if; end $$`,
      `alter role ${name(role)} login password ${text(password)}`,
      `grant connect on database ${name(database)} to ${name(role)}`,
    ]),
    ...tenants.map(({ settings: { user }, schema }) => `create schema if not exists ${name(schema)} authorization ${name(user)}`),
  ];
}

/** Statements, one a line, by PostgreSQL's single-user mode: it listens nowhere, and asks for no password. */
async function alone(version: string, data: string, database: string, statements: readonly string[], signal: AbortSignal): Promise<void> {
  const command = [program(version, 'postgres'), '--single', '-D', data, '-c', 'exit_on_error=on', '-c', 'log_min_error_statement=panic', database];
  for (const end = performance.now() + LET_GO_MS; ; ) {
    const said = await run(command, `${statements.join('\n')}\n`, signal);
    if (said === undefined || signal.aborted) return;
    if (performance.now() > end || !/postmaster\.pid|shared memory block/.test(said)) throw problem(data, said);
    await pause(LOOK_MS, undefined, { signal }).catch(() => {});
  }
}

/** Answers what it said last where it failed. */
async function run(command: readonly string[], input: string, signal: AbortSignal): Promise<string | undefined> {
  const [first, ...rest] = [...asUser(), ...command] as [string, ...string[]];
  const child = spawn(first, rest, { cwd: '/', signal, stdio: ['pipe', 'ignore', 'pipe'] });
  let said = '';
  child.on('error', (error) => (said += error.message));
  child.stdin.on('error', () => {}).end(input);
  child.stderr.setEncoding('utf8').on('data', (words: string) => (said = (said + words).slice(-LAST_WORDS)));
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return code === 0 ? undefined : said.trim();
}

function problem(data: string, said: string): BootProblem {
  const asRoot = asUser().length === 0 ? '' : `\nAs root it is run as the user ${USER}; better start Multilith as a user of its own.`;
  return new BootProblem(`PostgreSQL could not be made ready in ${data}.`, `It said last:\n${said}${asRoot}`);
}

/**
 * In front of what runs as another user than root; nothing where we are not root. It may pass through folders that are
 * closed to it, as the data directory is, and goes with us: a change of the user makes it forget that.
 */
function asUser(): readonly string[] {
  if (process.getuid?.() !== 0) return [];
  return ['setpriv', '--pdeathsig', 'KILL', `--reuid=${USER}`, `--regid=${USER}`, '--clear-groups', '--inh-caps=+dac_read_search', '--ambient-caps=+dac_read_search', '--'];
}

function idOf(flag: '-u' | '-g'): number {
  return Number(execFileSync('id', [flag, USER], { encoding: 'utf8' }));
}

function versionFor(directory: string): string | undefined {
  const made = join(directory, 'data', 'PG_VERSION');
  if (existsSync(made)) return readFileSync(made, 'utf8').trim();
  if (!existsSync(VERSIONS)) return undefined;
  return readdirSync(VERSIONS).filter((version) => existsSync(program(version, 'postgres'))).sort((a, b) => Number(b) - Number(a))[0];
}

function program(version: string, name: string): string {
  return join(VERSIONS, version, 'bin', name);
}

function name(identifier: string): string {
  return `"${identifier.replaceAll('"', '""')}"`;
}

function text(value: string): string {
  return `'${value.replaceAll("'", "''")}'`;
}
