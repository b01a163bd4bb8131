/** What `spillway up` started or found; kept as `run/parts.json` in the home, answered by `spillway status --json`. */
export interface Parts {
  temporal: {
    address: string;
    ui: string;
    namespace: string;
    version: string;
    pid?: number;
    startedAt?: number;
    found: PartSource;
    /** Program `temporal` that starts workflows. */ cli?: string;
  };
  trino: {
    url: string;
    version: string;
    pid?: number;
    startedAt?: number;
    found: PartSource;
    lakeRoot: string;
  };
  postgres: {
    url: string;
    version: string;
    pid?: number;
    startedAt?: number;
    found: PartSource;
    passwordFile?: string;
  };
  /**
   * Container runtime with the flags that probing found necessary on this host, and the image of the DataFusion runner; `process` where
   * there is none, and `name` is the runner's directory.
   */
  image: { runtime: StepRuntime; version: string; flags: string[]; name: string; found: PartSource };
  scratch: string;
}

/** What steps of engines run in. `process`: no container, but a plain process of this user. */
export type StepRuntime = 'podman' | 'docker' | 'process';

/** How a part was had, in the order it is looked for. */
export type PartSource = 'configured' | 'path' | 'container' | 'fetched';

export const PART_NAMES = ['temporal', 'trino', 'postgres', 'image'] as const;
export type PartName = (typeof PART_NAMES)[number];
