/** As much of an object that was refused as the API server vouches for. */
export interface RefusedObject {
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly spec: Readonly<Record<string, unknown>>;
}
