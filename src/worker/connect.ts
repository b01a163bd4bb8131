import { Client, Connection } from '@temporalio/client';
import { NativeConnection } from '@temporalio/worker';
import type { ResolvedConfig } from '../config/resolved.ts';
import { SpillwayError } from '../contracts/errors.ts';

const CONNECT_MS = 4_000;

/** One line that says that Temporal is not there, and what to do. */
const unreachable = (address: string, cause: unknown): SpillwayError =>
  new SpillwayError(
    'EngineUnreachable',
    `Temporal at ${address} does not answer. Start it with \`spillway up\`, or set temporal.address.`,
    { cause },
  );

/** A client for starting and watching runs. @throws SpillwayError `EngineUnreachable` */
export async function connect(
  temporal: ResolvedConfig['temporal'],
): Promise<{ client: Client; connection: Connection }> {
  try {
    const connection = await Connection.connect({ address: temporal.address, connectTimeout: CONNECT_MS });
    return { connection, client: new Client({ connection, namespace: temporal.namespace }) };
  } catch (error) {
    throw unreachable(temporal.address, error);
  }
}

/** The connection that Workers poll on. @throws SpillwayError `EngineUnreachable` */
export async function connectWorkers(temporal: ResolvedConfig['temporal']): Promise<NativeConnection> {
  try {
    return await NativeConnection.connect({ address: temporal.address });
  } catch (error) {
    throw unreachable(temporal.address, error);
  }
}
