import { Client, Connection } from '@temporalio/client';
import { NativeConnection } from '@temporalio/worker';
import type { ResolvedConfig } from '../config/resolved.ts';
import { SpillwayError } from '../contracts/errors.ts';
import { probeTcp } from '../host/tcp-probe.ts';

const CONNECT_MS = 4_000;

/** gRPC goes on trying a refused address until its time is over; this one hears of it at once. */
const listens = ({ address }: ResolvedConfig['temporal']): Promise<void> => probeTcp(address, CONNECT_MS);

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
    await listens(temporal);
    const connection = await Connection.connect({ address: temporal.address, connectTimeout: CONNECT_MS });
    return { connection, client: new Client({ connection, namespace: temporal.namespace }) };
  } catch (error) {
    throw unreachable(temporal.address, error);
  }
}

/** The connection that Workers poll on. @throws SpillwayError `EngineUnreachable` */
export async function connectWorkers(temporal: ResolvedConfig['temporal']): Promise<NativeConnection> {
  try {
    await listens(temporal);
    return await NativeConnection.connect({ address: temporal.address });
  } catch (error) {
    throw unreachable(temporal.address, error);
  }
}
