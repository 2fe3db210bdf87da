import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, chownSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { freePort, ServerProcess } from './server-process.ts';

const PROGRAMS = '/usr/lib/postgresql';
const START_MS = 60_000;

/** A PostgreSQL server of its own, on a port of loopback that it keeps over restarts, with an empty database, or what another one has. */
export class PostgresServer {
  readonly #dir = mkdtempSync(join(tmpdir(), 'multilith-postgres-'));
  readonly #primary: PostgresServer | undefined;
  #process: ServerProcess | undefined;

  /** `primary`: runs already, and is followed by streaming from when this one starts. */
  constructor(primary?: PostgresServer) {
    this.#primary = primary;
  }

  /** Resolves when it answers. */
  async start(): Promise<this> {
    this.#process ??= await this.#make();
    await this.#process.start();
    const ready = ['-q', '-h', '127.0.0.1', '-p', String(this.port)];
    for (const deadline = Date.now() + START_MS; ; ) {
      try {
        execFileSync(program('pg_isready'), ready);
        return this;
      } catch (error) {
        if (Date.now() > deadline) throw error;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  }

  get port(): number {
    return this.#process!.port;
  }

  /** A section of a topology's `storage`. */
  get section(): object {
    return { driver: 'postgres', port: this.port, database: 'postgres', user: 'app' };
  }

  /** For the storage driver; `name` tells schemas apart. */
  settings(name: string): object {
    return { port: this.port, database: 'postgres', user: 'app', schema: schemaFor(name) };
  }

  /** As an operator would with psql; answers what it prints, values alone. */
  query(sql: string, database = 'postgres'): string {
    return execFileSync(program('psql'), ['-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-d', database, '-c', sql], { encoding: 'utf8', env: this.environment, stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  }

  /** Where psql and its like find it. */
  get environment(): NodeJS.ProcessEnv {
    return { PATH: [dirname(process.execPath), dirname(program('psql')), process.env.PATH].join(':'), PGHOST: '127.0.0.1', PGPORT: String(this.port), PGUSER: 'app', PGDATABASE: 'postgres' };
  }

  /** What psql prints for a script, without headings; throws when a statement of it fails. */
  psql(script: string): string {
    const args = ['-h', '127.0.0.1', '-p', String(this.port), '-U', 'app', '-d', 'postgres', '-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1'];
    return execFileSync(program('psql'), args, { input: script, encoding: 'utf8', maxBuffer: 16 * 1_048_576 });
  }

  /** With all its processes: those that are under way and those that take connections. */
  freeze(): void {
    this.#process!.freezeAll();
  }

  thaw(): void {
    this.#process!.thawAll();
  }

  /** At once, as in a crash. */
  async kill(): Promise<void> {
    await this.#process?.kill();
  }

  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.#dir, { recursive: true, force: true });
  }

  async #make(): Promise<ServerProcess> {
    const data = join(this.#dir, 'data');
    const isRoot = process.getuid?.() === 0;
    if (isRoot) {
      chmodSync(this.#dir, 0o700);
      chownSync(this.#dir, id('-u'), id('-g'));
    }
    const [command, ...before] = isRoot ? ['setpriv', '--reuid=postgres', '--regid=postgres', '--clear-groups', '--'] : [];
    const run = (name: string, args: string[]): [string, string[]] => (command === undefined ? [program(name), args] : [command, [...before, program(name), ...args]]);
    const made = this.#primary === undefined ? run('initdb', ['-D', data, '-U', 'app', '-A', 'trust', '-E', 'UTF8', '--locale=C.UTF-8', '--no-sync']) : run('pg_basebackup', ['-D', data, '-R', '-h', '127.0.0.1', '-p', String(this.#primary.port), '-U', 'app', '-c', 'fast', '--no-sync']);
    execFileSync(...made, { stdio: 'ignore' });
    const port = await freePort();
    const settings = { port, listen_addresses: '127.0.0.1', unix_socket_directories: this.#dir, max_connections: 200, ...(this.#primary !== undefined && { max_standby_streaming_delay: 0, fsync: 'off' }) };
    const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    return new ServerProcess(...run('postgres', ['-D', data, ...args]), port);
  }
}

/** A schema of its own for each name. */
export function schemaFor(name: string): string {
  return `s${createHash('sha256').update(name).digest('hex').slice(0, 40)}`;
}

/** The newest that is installed. Debian keeps them out of the path. */
function program(name: string): string {
  const [newest] = readdirSync(PROGRAMS).sort((a, b) => Number(b) - Number(a));
  return join(PROGRAMS, newest!, 'bin', name);
}

function id(flag: string): number {
  return Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }));
}
