import { isAbsolute } from 'node:path';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { systemCall } from '../../kernel/call.ts';
import { Fault, FAULT_STATUS, toFault, type Json } from '../../kernel/fault.ts';
import type { OperatorCommand } from '../../kernel/module.ts';
import type { SystemStatus } from '../../kernel/system.ts';
import type { Log } from '../../kernel/telemetry.ts';
import type { Bus } from '../../ports/bus.ts';
import type { ReadsOf } from '../../fabric/compared-reads.ts';
import type { Backups } from '../backup/backups.ts';
import type { StorageMoves } from '../host/storage-moves.ts';
import type { KeptBus } from '../host/kept-bus.ts';
import { runBusOperation } from './operations.ts';

const MAX_BODY_BYTES = 1024 * 1024;
/** Purging millions of messages takes its time; nobody waits longer at a terminal. */
const COMMAND_MS = 60_000;

/** What a host answers on its control socket. Whoever may open the socket is the operator: its mode is 0600. */
export interface Desk {
  readonly bus: Bus;
  /** Where this host keeps the messages. */
  readonly keptBus?: Pick<KeptBus, 'move' | 'turnBack' | 'progress'> | undefined;
  /** Where modules run. */
  readonly storages?: Pick<StorageMoves, 'move' | 'back' | 'finish' | 'progress'>;
  readonly backups: Pick<Backups, 'begin' | 'progress'>;
  readonly log: Log;
  status(): object;
  /** All hosts of the topology, as far as they can be asked. */
  system(): Promise<SystemStatus>;
  /** The command of a module, e.g. `portal`/`demo-key`. */
  operator(module: string, command: string): OperatorCommand | undefined;
}

/**
 * `GET /status`, `GET /system`, `GET` and `POST /bus-move`, `/storage-move` and `/backup`, `POST /bus-move/back`, `POST /storage-move/back` and `/finish`, `POST /bus/<operation>`, `POST /operator/<module>/<command>`: JSON both ways, a fault's record with
 * its HTTP status when it did not work.
 */
export function controlListener(desk: Desk): RequestListener {
  return (request, response) => {
    void answer(request, desk).then(
      (value) => send(response, 200, value),
      (thrown: unknown) => {
        const fault = toFault(thrown);
        if (fault.code === 'internal') desk.log.error({ err: fault.cause ?? fault }, 'A control command failed');
        send(response, FAULT_STATUS[fault.code], fault.toRecord());
      },
    );
  };
}

async function answer(request: IncomingMessage, desk: Desk): Promise<unknown> {
  const [part, ...rest] = (request.url ?? '').slice(1).split('/');
  if (request.method === 'GET' && part === 'status') return desk.status();
  if (request.method === 'GET' && part === 'system') return desk.system();
  if (part === 'bus-move' && desk.keptBus === undefined) throw new Fault('not_found', 'This host does not keep the messages.', { reason: 'no_messages' });
  if (request.method === 'GET' && part === 'bus-move') return desk.keptBus!.progress;
  if (request.method === 'GET' && part === 'backup') return desk.backups.progress;
  if (part === 'storage-move' && desk.storages === undefined) throw new Fault('not_found', 'No modules run here.', { reason: 'no_modules' });
  if (request.method === 'GET' && part === 'storage-move') return desk.storages!.progress();
  const input = await readJson(request);
  if (request.method === 'POST' && part === 'storage-move') return moveStorages(rest[0], input, desk.storages!);
  if (request.method === 'POST' && part === 'backup') return desk.backups.begin(pathIn(input, 'path'));
  if (request.method === 'POST' && part === 'bus-move') return rest[0] === 'back' ? desk.keptBus!.turnBack() : desk.keptBus!.move(pathIn(input, 'topology'));
  if (request.method === 'POST' && part === 'bus' && rest.length === 1) return runBusOperation(desk.bus, rest[0]!, input);
  const command = request.method === 'POST' && part === 'operator' && rest.length === 2 ? desk.operator(rest[0]!, rest[1]!) : undefined;
  if (command === undefined) throw new Fault('not_found', `There is no control command ${request.method} ${request.url}.`, { reason: 'command_not_found' });
  return command.run(input, systemCall('operator', null, Date.now() + COMMAND_MS));
}

async function moveStorages(word: string | undefined, input: Json, storages: NonNullable<Desk['storages']>): Promise<unknown> {
  const { modules } = (input ?? {}) as { readonly modules?: Json };
  if (!Array.isArray(modules) || !modules.every((module) => typeof module === 'string')) throw new Fault('invalid', 'This command needs names of modules as "modules".', { reason: 'modules_missing' });
  if (word === 'back') return storages.back(modules);
  if (word === 'finish') return storages.finish(modules);
  return storages.move(pathIn(input, 'topology'), modules, readsIn(input));
}

function readsIn(input: Json): ReadsOf | undefined {
  const { reads } = (input ?? {}) as { readonly reads?: Json };
  if (reads === undefined || reads === 'all') return reads;
  if (!Array.isArray(reads) || reads.length === 0 || !reads.every((id) => typeof id === 'string')) throw new Fault('invalid', 'This command takes ids of workspaces, or "all", as "reads".', { reason: 'reads_malformed' });
  return reads;
}

function pathIn(input: Json, field: string): string {
  const path = ((input ?? {}) as Readonly<Record<string, Json>>)[field];
  if (typeof path !== 'string' || !isAbsolute(path)) throw new Fault('invalid', `This command needs an absolute path as "${field}".`, { reason: `${field}_missing` });
  return path;
}

async function readJson(request: IncomingMessage): Promise<Json> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) throw new Fault('invalid', `A control command is at most ${MAX_BODY_BYTES} bytes.`, { reason: 'too_large' });
    chunks.push(chunk);
  }
  try {
    return bytes === 0 ? {} : (JSON.parse(Buffer.concat(chunks).toString('utf8')) as Json);
  } catch {
    throw new Fault('invalid', 'A control command is JSON.', { reason: 'malformed' });
  }
}

function send(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json', connection: 'close' }).end(JSON.stringify(value));
}
