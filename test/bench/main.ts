import { execFile } from 'node:child_process';
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { areas } from './areas.ts';
import type { BenchRow } from './report.ts';

/*
 * npm run bench -- [area …]: each area in a process of its own, one after the other. Machines are shared and noisy:
 * what counts is the ratio to the limit or peer that was measured in the same run.
 */

const RESULTS = 'bench-results.json';
/** Of one area; a hundred thousand sends of `replicas` (BENCH_SENDS) may take so long. */
const LONGEST_MS = 1_800_000;

async function main(wanted: readonly string[]): Promise<void> {
  if (wanted[0] === '--area') return runArea(wanted[1]!);
  const unknown = wanted.filter((name) => !(name in areas));
  if (unknown.length > 0) throw new Error(`No such area: ${unknown.join(', ')}. There are: ${Object.keys(areas).join(', ')}.`);
  const rows: BenchRow[] = [];
  for (const area of wanted.length > 0 ? wanted : Object.keys(areas)) {
    process.stderr.write(`${area} …\n`);
    const { stdout } = await promisify(execFile)(process.execPath, [import.meta.filename, '--area', area], { timeout: LONGEST_MS, maxBuffer: 16 * 1024 * 1024 });
    const found = JSON.parse(stdout.trim().split('\n').at(-1)!) as BenchRow[];
    printTable(found);
    rows.push(...found);
  }
  const machine = { at: new Date().toISOString(), node: process.version, cpus: cpus().length, model: cpus()[0]?.model, memoryGb: Math.round(totalmem() / 2 ** 30), fdatasyncMs: fdatasyncMs() };
  writeFileSync(RESULTS, `${JSON.stringify({ machine, rows }, null, 2)}\n`);
  process.stderr.write(`\n${JSON.stringify(machine)}\nwritten to ${RESULTS}\n`);
}

/** Rows go out as the last line of standard output. */
async function runArea(name: string): Promise<void> {
  const rows = await areas[name as keyof typeof areas]();
  process.stdout.write(`\n${JSON.stringify(rows)}\n`, () => process.exit(0));
}

function printTable(rows: readonly BenchRow[]): void {
  const cells = rows.map((row) => [
    row.name,
    `${number(row.value)} ${row.unit}`,
    row.aim === undefined ? '' : `${row.better === 'lower' ? '≤' : '≥'} ${number(row.aim)} ${reached(row) ? 'ok' : 'SHORT'}`,
    row.limit === undefined ? '' : `${(row.value / row.limit).toFixed(2)} × ${number(row.limit)}`,
    row.note ?? '',
  ]);
  const widths = [0, 1, 2, 3].map((column) => Math.max(...cells.map((line) => line[column]!.length)));
  for (const line of cells) process.stdout.write(`  ${line.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ').trimEnd()}\n`);
}

function reached({ value, aim, better }: BenchRow): boolean {
  return aim === undefined || (better === 'lower' ? value <= aim : value >= aim);
}

function number(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString('en-US') : value.toPrecision(3);
}

/** The median of one append and fdatasync of 1 KB on the disk that the benches write to. */
function fdatasyncMs(): number {
  const dir = mkdtempSync(join(tmpdir(), 'bench-'));
  const file = openSync(join(dir, 'probe'), 'w');
  const times = Array.from({ length: 101 }, () => {
    const began = performance.now();
    writeSync(file, Buffer.alloc(1024));
    fdatasyncSync(file);
    return performance.now() - began;
  });
  closeSync(file);
  rmSync(dir, { recursive: true });
  return Number(times.sort((a, b) => a - b)[50]!.toFixed(3));
}

await main(process.argv.slice(2)).catch((error: Error & { stderr?: string }) => {
  process.stderr.write(`${error.stderr ?? error.stack}\n`);
  process.exitCode = 1;
});
