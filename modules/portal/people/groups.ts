import type { Attributes } from '../contract.ts';
import { MOST_ATTRIBUTES, MOST_ATTRIBUTES_BYTES } from './traits.ts';

/** What is known of a group, each trait with the stamp of its last change. */
export interface GroupTraits {
  readonly traits: Attributes;
  readonly stamps: Readonly<Record<string, number>>;
}

/** The traits merged in, each by its stamp. Null when the whole would be too large. */
export function withGroupTraits(held: GroupTraits, added: Attributes, stamp: number): GroupTraits | null {
  const traits = { ...held.traits };
  const stamps = { ...held.stamps };
  for (const [name, value] of Object.entries(added)) {
    if (Object.hasOwn(stamps, name) && stamps[name]! > stamp) continue;
    stamps[name] = stamp;
    if (value === null) delete traits[name];
    else traits[name] = value;
  }
  const fits = Object.keys(stamps).length <= MOST_ATTRIBUTES && Buffer.byteLength(JSON.stringify(traits)) <= MOST_ATTRIBUTES_BYTES;
  return fits ? { traits, stamps } : null;
}
