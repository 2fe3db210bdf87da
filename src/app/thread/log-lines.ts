import pino from 'pino';
import type { Log } from '../../kernel/telemetry.ts';
import { LEVELS, type Level } from '../host/log.ts';
import type { LogLine } from './protocol.ts';
import type { Pulse } from './pulse.ts';

/** So many lines may be on their way to the host; beyond them lines are dropped, and counted, rather than memory used up. */
const MOST_LINES = 5_000;

/** The log of a thread: each line crosses to the host, which writes it into its own. */
export function logTo(send: (line: LogLine) => void, least: Level, pulse: Pulse): Log {
  let dropped = 0;
  const line = (level: Level, fields: object, message: string): void => {
    if (LEVELS.indexOf(level) < LEVELS.indexOf(least)) return;
    if (pulse.linesUnderWay >= MOST_LINES) return void dropped++;
    if (dropped > 0) {
      const lost = { dropped };
      dropped = 0;
      line('warn', lost, 'log lines were dropped, since the host did not take them');
    }
    pulse.lineSent();
    send({ kind: 'log', level, fields: textOf(fields), message });
  };
  const withFields = (always: object): Log => ({
    debug: (fields, message) => line('debug', { ...always, ...fields }, message),
    info: (fields, message) => line('info', { ...always, ...fields }, message),
    warn: (fields, message) => line('warn', { ...always, ...fields }, message),
    error: (fields, message) => line('error', { ...always, ...fields }, message),
    child: (fields) => withFields({ ...always, ...fields }),
  });
  return withFields({});
}

/** Writes a line that has come from a thread as if it had been written here. */
export function writeLine(log: Log, { level, fields: text, message }: LogLine): void {
  const fields = JSON.parse(text) as { err?: unknown };
  log[level]('err' in fields ? { ...fields, err: errorFrom(fields.err) } : fields, message);
}

function textOf(fields: { readonly err?: unknown }): string {
  const err = fields.err instanceof Error ? pino.stdSerializers.err(fields.err) : undefined;
  try {
    return JSON.stringify(err === undefined ? fields : { ...fields, err });
  } catch {
    // What has gone wrong is said all the same.
    return JSON.stringify({ fields: 'not JSON', ...(err !== undefined && { err: { type: err.type, message: err.message, stack: err.stack } }) });
  }
}

/** An error of the same name, words and stack: what a log shows of it, with the errors behind it in its words. */
function errorFrom(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || !('stack' in value)) return value;
  const { type, message, stack, ...rest } = value as { type: string; message: string; stack: string };
  const named = { [type]: class extends Error {} };
  return Object.assign(new named[type]!(message), rest, { stack });
}
