import { ApiError, issuesOf } from "@margay/api";
import { parse, YAMLParseError } from "yaml";
import { dashed, type File, fileSchema } from "./schema.ts";

/** The text of a file, understood. Throws ApiError `invalid`: each fault with its path, what is allowed and what was found. */
export function readText(text: string, origin: string): File {
  const document = undashed(yaml(text, origin));
  const result = fileSchema.safeParse(document);
  if (result.success) return result.data;
  const issues = issuesOf(result.error, document).map(({ path, message }) => ({
    path: path.startsWith("filters") ? path : dashed(path),
    message,
  }));
  throw new ApiError({ code: "invalid", origin, issues });
}

/** Names of fields without dashes, as the schema has them; those of filters are the user's own. */
function undashed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(undashed);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [
      name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase()),
      name === "filters" ? inner : undashed(inner),
    ]),
  );
}

function yaml(text: string, origin: string): unknown {
  try {
    return parse(text);
  } catch (cause) {
    if (!(cause instanceof YAMLParseError)) throw cause;
    throw new ApiError({ code: "invalid", origin, issues: [{ path: "", message: cause.message }], cause });
  }
}
