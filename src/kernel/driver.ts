import type { z } from 'zod';
import type { Clock } from './clock.ts';
import type { Log, Metrics } from './telemetry.ts';

/** What the composition root hands to every adapter. */
export interface DriverContext {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** The folder for durable files of this host; exists. */
  readonly dataDir: string;
}

/**
 * One way of fulfilling a port: one folder under adapters/, one line in the port's catalog. From the catalog come the
 * type of the configuration and the conformance run.
 */
export interface Driver<Settings, Port, Needs = object> {
  readonly name: string;
  /** Strict; every field documented, with its unit in its name. Parsing `{}` gives the defaults where there are any. */
  readonly settings: z.ZodType<Settings>;
  /** Opens nothing yet: that is `start`'s work. */
  create(settings: Settings, context: DriverContext & Needs): Port;
}
