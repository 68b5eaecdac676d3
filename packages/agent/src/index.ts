export { cleanupCommand } from "./cleanup-command.ts";
export { command } from "./command.ts";
