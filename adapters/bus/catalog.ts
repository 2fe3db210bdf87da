import { activemq } from './activemq/driver.ts';
import { embedded } from './embedded/driver.ts';
import { tables } from './embedded/schema.ts';
import * as statements from './embedded/statements.ts';

/** The bus drivers, by the name that the configuration uses. */
export const busDrivers = {
  embedded,
  activemq: activemq({
    create: ({ maxMessageBytes, maxBacklog, minFreeBytes }, context) => embedded.create({ maxMessageBytes, maxBacklog, minFreeBytes }, context),
    statements: Object.fromEntries(Object.entries(statements).flatMap(([name, one]) => (typeof one === 'object' && 'build' in one ? [[name, one]] : []))),
    progress: new Set(['saveQueue', 'remove', 'moveTo', 'putBack', 'endTry', 'remember', 'unblockFirst']),
    tables,
  }),
} as const;
