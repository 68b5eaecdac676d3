/** The part of a logger that we use; pino's. */
export interface Log {
  info(fields: object, text: string): void;
  warn(fields: object, text: string): void;
  debug(fields: object, text: string): void;
}
