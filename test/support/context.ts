import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Clock, systemClock } from '../../src/kernel/clock.ts';
import type { DriverContext } from '../../src/kernel/driver.ts';
import type { Log, Metrics } from '../../src/kernel/telemetry.ts';

export const silentLog: Log = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => silentLog,
};

export const noMetrics: Metrics = {
  counter: () => ({ add() {} }),
  histogram: () => ({ observe() {} }),
  gauge() {},
};

/** A context with its own empty data directory, and the function that removes it. */
export interface TestContext extends DriverContext {
  remove(): void;
}

export function testContext(options: { clock?: Clock; log?: Log; metrics?: Metrics; dataDir?: string } = {}): TestContext {
  const dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), 'multilith-'));
  return {
    clock: options.clock ?? systemClock,
    log: options.log ?? silentLog,
    metrics: options.metrics ?? noMetrics,
    dataDir,
    remove: () => rmSync(dataDir, { recursive: true, force: true }),
  };
}
