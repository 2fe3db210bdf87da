import type { KeptDays } from '../../fabric/retention.ts';
import type { Config } from './config.ts';

/** How long tables are kept, by the names that modules give them. */
export function keptDays({ retention }: Pick<Config, 'retention'>): KeptDays {
  return Object.fromEntries(Object.entries(retention).map(([setting, days]) => [setting.replace(/Days$/, ''), days]));
}
