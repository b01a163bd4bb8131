import type { Client } from '@temporalio/client';
import type { ResolvedConfig, WebDirectory } from '../src/config/resolved.ts';
import type { ContainerRuntime } from '../src/engines/container/container-port.ts';
import type { DatafusionDeps } from '../src/engines/datafusion/run-datafusion.ts';
import type { PostgresDeps } from '../src/engines/postgres/session.ts';
import type { TransformGroups } from '../src/engines/transform/transform-groups.ts';
import type { Trino } from '../src/engines/trino/trino-port.ts';
import type { Checkpoints } from '../src/handoff/checkpoints.ts';
import type { ScratchLedger } from '../src/handoff/scratch-ledger.ts';
import type { LeasedDeps } from './leased.ts';

/** The engines of one host, opened. */
export interface StepEngines {
  readonly scratch: ScratchLedger;
  readonly checkpoints: Checkpoints;
  readonly containers: ContainerRuntime;
  readonly datafusion: DatafusionDeps;
  readonly transformGroups: TransformGroups;
  /** @throws SpillwayError `InvalidInput` when none of that name is configured */
  trino(name: string): Trino;
  /** What a web server wants to be shown for its files; undefined where it wants nothing. */
  token(of: WebDirectory): string | undefined;
  /** Process of a resident Trino on this host, where it is known. */
  trinoPid(name: string): number | undefined;
  /** @throws SpillwayError `InvalidInput` when none of that name is configured */
  postgres(name: string): PostgresDeps;
}

/** What activities work with; the worker makes it. */
export interface ActivityDeps extends LeasedDeps {
  readonly config: ResolvedConfig;
  readonly client: Client;
  readonly engines: StepEngines;
}
