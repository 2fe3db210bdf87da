/** Numbers as they fit a column: at most seven characters each. */

/** Calls or failures a second. */
export function perSecond(rate: number): string {
  if (rate === 0) return '0';
  if (rate < 0.01) return '<0.01';
  if (rate < 9.95) return rate.toFixed(rate < 0.995 ? 2 : 1);
  return whole(rate);
}

export function whole(count: number): string {
  if (count < 10_000) return String(Math.round(count));
  if (count < 999_500) return `${Math.round(count / 1_000)}k`;
  const millions = count / 1_000_000;
  return millions < 999.5 ? `${millions.toFixed(millions < 9.95 ? 1 : 0)}M` : `${(millions / 1_000).toFixed(millions < 9_950 ? 1 : 0)}G`;
}

/** `-` where nothing has been measured. */
export function took(ms: number | null): string {
  if (ms === null) return '-';
  if (ms < 0.9995) return `${Math.round(ms * 1_000)} µs`;
  if (ms < 9.95) return `${ms.toFixed(1)} ms`;
  return ms < 999.5 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`;
}

/** `-` while it is not known. */
export function bytesPerSecond(rate: number | null): string {
  if (rate === null) return '-';
  if (rate < 999.5) return `${Math.round(rate)} B`;
  const kilo = rate / 1_000;
  if (kilo < 999.5) return `${kilo < 9.95 ? kilo.toFixed(1) : Math.round(kilo)} kB`;
  const mega = kilo / 1_000;
  if (mega < 999.5) return `${mega < 9.95 ? mega.toFixed(1) : Math.round(mega)} MB`;
  return `${(mega / 1_000).toFixed(mega < 9_950 ? 1 : 0)} GB`;
}

export function memory(mb: number): string {
  return mb < 10_000 ? `${mb} MB` : `${Math.round(mb / 1_000)} GB`;
}

export function share(part: number, of: number): string {
  return of === 0 ? '-' : `${Math.floor((part / of) * 100)} %`;
}

/** How long ago, or for how long. */
export function age(seconds: number): string {
  if (seconds < 1) return '<1 s';
  if (seconds < 100) return `${Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 100) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h` : `${Math.floor(hours / 24)} d`;
}
