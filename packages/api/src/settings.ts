import * as z from "zod";

/** Each field that has a default becomes optional instead; descriptions are kept. */
export type WithoutDefaults<Shape extends z.ZodRawShape> = {
  -readonly [K in keyof Shape]: Shape[K] extends z.ZodDefault<infer Inner> ? z.ZodOptional<Inner> : Shape[K];
};

/**
 * The stored form of settings that are merged from several objects: what an object does not say must stay unsaid, or the
 * defaults of one would hide what another sets. `effective` fills the defaults in after merging.
 */
export function withoutDefaults<Shape extends z.ZodRawShape>(
  settings: z.ZodObject<Shape>,
): z.ZodObject<WithoutDefaults<Shape>> {
  const shape = Object.fromEntries(
    Object.entries(settings.shape).map(([field, schema]) => [
      field,
      schema instanceof z.ZodDefault ? stored(schema) : schema,
    ]),
  );
  // The mapping above is what WithoutDefaults says; Object.fromEntries forgets the names.
  return z.object(shape) as unknown as z.ZodObject<WithoutDefaults<Shape>>;
}

function stored(schema: z.ZodDefault): z.ZodType {
  const optional = z.optional(schema.unwrap());
  return schema.description === undefined ? optional : optional.describe(schema.description);
}
