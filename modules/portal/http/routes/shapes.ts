import { z } from 'zod';

/** An id of ours in a path. What is no id of this workspace is not found, whatever it looks like. */
export const Id = z.string().min(1).max(200);
export const Empty = z.strictObject({});

/** The two fields of every list's query. */
export const page = {
  /** `next` of the answer before. */
  after: z.string().max(2_048).optional(),
  limit: z.int().min(1).max(200).default(50),
};

/** Free JSON in an answer: it was checked when it came in, so only its outside is looked at again. */
export const FreeAnswer = z.record(z.string(), z.unknown());

export function listOf<T extends z.ZodType>(item: T): z.ZodObject<{ items: z.ZodArray<T>; next: z.ZodNullable<z.ZodString> }> {
  return z.object({ items: z.array(item), next: z.string().nullable() });
}

/** Rows asked for with `limit + 1`, as one page; `cursorOf` names the last one kept. */
export function pageOf<T>(rows: readonly T[], limit: number, cursorOf: (last: T) => string): { items: T[]; next: string | null } {
  const items = rows.slice(0, limit);
  return { items, next: rows.length > limit ? cursorOf(items.at(-1)!) : null };
}
