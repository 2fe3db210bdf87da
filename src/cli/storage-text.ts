import type { ModuleComparison, StorageMoveProgress } from '../app/host/storage-mover.ts';
import { count } from '../app/plan/plan-text.ts';
import type { TableComparison } from '../fabric/storage-compare.ts';
import type { Args, Io } from './command.ts';

/** A program that reads standard error is told at most so often. */
const TELL_MS = 1_000;
/** A bar on a terminal is drawn anew at most so often. */
const DRAW_MS = 100;
const BAR_CELLS = 24;
/** Of a hash, for people. */
const HASH_SHOWN = 16;

/** A bar on a terminal; otherwise a line for each table that is done; JSON once a second for programs. */
export function storageTeller(args: Args, io: Io): (progress: StorageMoveProgress) => void {
  if (args.flag('json')) return atMostEvery(TELL_MS, (progress) => io.error(JSON.stringify(progress)));
  if (process.stderr.isTTY !== true) return (progress) => (progress.rows === progress.of ? io.error(`${progress.module}.${progress.table}: ${progress.step}, ${count(progress.rows, 'row')}`) : undefined);
  const draw = atMostEvery(DRAW_MS, (progress) => process.stderr.write(`\r\x1b[K${barOf(progress)}`));
  return (progress) => {
    draw(progress);
    if (progress.step === 'comparing' && progress.rows === progress.of) process.stderr.write('\r\x1b[K');
  };
}

function atMostEvery(ms: number, tell: (progress: StorageMoveProgress) => void): (progress: StorageMoveProgress) => void {
  let last = -Infinity;
  return (progress) => {
    if (performance.now() - last < ms) return;
    last = performance.now();
    tell(progress);
  };
}

function barOf({ module, table, step, rows, of }: StorageMoveProgress): string {
  if (of === null) return `${step} ${module}.${table}, ${count(rows, 'row')}`;
  const share = of === 0 ? 1 : Math.min(rows / of, 1);
  const full = Math.round(share * BAR_CELLS);
  return `${'█'.repeat(full)}${'░'.repeat(BAR_CELLS - full)} ${Math.floor(share * 100)} %  ${step} ${module}.${table}, ${rows.toLocaleString('en')} of ${count(of, 'row')}`;
}

/** A line for each table, and below one that differs its rows. */
export function comparisonLines({ module, from, to, tables }: ModuleComparison): string[] {
  const width = Math.max(...tables.map(({ table }) => table.length));
  return ['', `${module}: ${from} → ${to}`, ...tables.flatMap((table) => tableLines(table, width))];
}

function tableLines({ table, from, to, isSame, differences }: TableComparison, width: number): string[] {
  const line = `  ${isSame ? 'same   ' : 'DIFFERS'}  ${table.padEnd(width)}  ${isSame ? `${count(from.rows, 'row')}  ${from.hash.slice(0, HASH_SHOWN)}` : `${count(from.rows, 'row')} ${from.hash.slice(0, HASH_SHOWN)}, in the new one ${count(to.rows, 'row')} ${to.hash.slice(0, HASH_SHOWN)}`}`;
  const counters = from.lastNumber === to.lastNumber ? [] : [`           its numbers stand at ${from.lastNumber}, in the new one at ${to.lastNumber}`];
  return [line, ...counters, ...differences.map(({ key, what }) => `           ${what === 'differs' ? 'another row' : what === 'missing' ? 'not there' : 'only there'}: ${key}`)];
}

/** What `back` and `finish` have come to. */
export function endOfLive(name: 'back' | 'finish', modules: readonly string[], topology: string): string {
  if (name === 'back') return `The old storages count again for ${modules.join(', ')}. What lies in the new ones may be thrown away.`;
  return `The old storages are let go for ${modules.join(', ')}. From the next start on: --topology ${topology}, or its section "storage" in your own.`;
}
