import type { ModuleMove } from '../app/host/kept-storages.ts';
import type { ModuleComparison, StorageMoveProgress } from '../app/host/storage-mover.ts';
import { count } from '../app/plan/plan-text.ts';
import type { ReadFigures, ReadsOf } from '../fabric/compared-reads.ts';
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

/** How a move is while the host works. */
export function moveLines({ module, progress }: ModuleMove): string[] {
  if (progress === null) return [`${module}: waiting`];
  const { state, from, to, table, rows, reads, problem } = progress;
  return [
    `${module}: ${state}${table === null ? '' : ` ${table}, ${count(rows, 'row')}`}, ${from} → ${to}`,
    ...(reads === null ? [] : readLines(reads)),
    ...(problem === null ? [] : [`  ${problem}`]),
  ];
}

function readLines({ of, same, behind, waiting, differed, unchecked, failed, oldMedianMs, newMedianMs }: ReadFigures): string[] {
  const found = [`${count(same, 'answer')} the same`, `${differed} differ`, `${behind} where the new one was behind`, `${waiting} to be looked at again`, `${unchecked} not looked at again`, `${failed} that the new one did not answer`];
  const medians = oldMedianMs === null || newMedianMs === null ? [] : [`  half of them within ${oldMedianMs.toFixed(1)} ms in the old one, ${newMedianMs.toFixed(1)} ms in the new one`];
  return [`  reads of ${readers(of)}: ${found.join(', ')}`, ...medians];
}

/** Whose reads, for people. */
export function readers(of: ReadsOf): string {
  return of === 'all' ? 'all' : count(of.length, 'workspace');
}

/** What `back` and `finish` have come to. */
export function endOfLive(name: 'back' | 'finish', modules: readonly string[], topology: string): string {
  if (name === 'back') return `The old storages count again for ${modules.join(', ')}. What lies in the new ones may be thrown away.`;
  return `The old storages are let go for ${modules.join(', ')}. From the next start on: --topology ${topology}, or its section "storage" in your own.`;
}
