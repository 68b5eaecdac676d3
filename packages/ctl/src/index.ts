export { apply, type Result } from "./apply.ts";
export { commands } from "./commands.ts";
export { candidates } from "./completion.ts";
export { type Located, readResources } from "./documents.ts";
export { CtlError } from "./error.ts";
export type { Terminal } from "./terminal.ts";
