import { z } from 'zod';
import { AnyJson } from '../json-schema.ts';

const OPERATORS = ['eq', 'ne', 'gt', 'gte', 'lt', 'lte', 'contains', 'starts_with', 'ends_with', 'in', 'exists', 'missing'] as const;

interface Comparison {
  field: string;
  op: (typeof OPERATORS)[number];
  value?: z.infer<typeof AnyJson> | undefined;
}

export type Condition = Comparison | { all: Condition[] } | { any: Condition[] } | { not: Condition };

/**
 * A tree of comparisons over fields that `fields` allows: `person.<path>` is the person's attributes, `person.email` and
 * `person.timeZone`; what stands under another root is up to whoever asks. Types never coerce: "5" is not 5. What the
 * schema cannot say (10 levels, 200 comparisons, values that fit) is checked by `problemsOfCondition`.
 */
export function conditionOver(fields: z.ZodType<string>): z.ZodType<Condition> {
  const OneComparison = z.object({
    field: fields,
    op: z.enum(OPERATORS),
    /** Left out for `exists` and `missing`; a list for `in`. */
    value: AnyJson.optional(),
  });
  const Tree: z.ZodType<Condition> = z.lazy(() =>
    z.union([
      OneComparison,
      z.object({ all: z.array(Tree).max(50) }),
      z.object({ any: z.array(Tree).max(50) }),
      z.object({ not: Tree }),
    ]),
  );
  return Tree;
}
