export { command } from "./command.ts";
export { LabError, type LabErrorCode } from "./errors.ts";
