import { ApiError, issuesOf } from "@margay/api";
import { parse, YAMLParseError } from "yaml";
import { type File, fileSchema } from "./schema.ts";

/** The text of a file, understood. Throws ApiError `invalid`: each fault with its path, what is allowed and what was found. */
export function readText(text: string, origin: string): File {
  const document = yaml(text, origin);
  const result = fileSchema.safeParse(document);
  if (result.success) return result.data;
  throw new ApiError({ code: "invalid", origin, issues: issuesOf(result.error, document) });
}

function yaml(text: string, origin: string): unknown {
  try {
    return parse(text);
  } catch (cause) {
    if (!(cause instanceof YAMLParseError)) throw cause;
    throw new ApiError({ code: "invalid", origin, issues: [{ path: "", message: cause.message }], cause });
  }
}
