/** Deeper values are refused on every way, so that none fails by how deep the stack happens to be. */
export const MOST_LEVELS = 1_000;

/** A value as JSON text; undefined when JSON cannot carry it (cycles, bigint) or it is too deep. */
export function jsonTextOf(value: unknown): string | undefined {
  try {
    const text = JSON.stringify(value) ?? 'null';
    // Only now: what has a cycle has no end.
    return isDeeper(value, MOST_LEVELS) ? undefined : text;
  } catch {
    return undefined;
  }
}

function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (levels === 0) return true;
  for (const member of Object.values(value)) if (isDeeper(member, levels - 1)) return true;
  return false;
}
