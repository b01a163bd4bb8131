/** What the bundler process is told, as JSON in its one argument. */
export interface BundleOrder {
  /** Module that the bundle starts from. */
  workflowsPath: string;
  /** Modules with interceptors; they go into the bundle. */
  interceptors: string[];
  /** Temporal's workflow library is taken from this package, wherever the workflows lie. */
  oneTemporal: boolean;
  /** File that gets the bundle, whole or not at all. */
  writeTo: string;
}

/** Last line that the bundler process prints: `error` is the reason in one line when nothing was written. */
export interface BundleAnswer {
  error?: string;
}
