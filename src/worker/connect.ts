import net from 'node:net';
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

/** Whether anybody listens at all: gRPC goes on trying a refused address until its time is over. */
function listens(address: string): Promise<void> {
  const { hostname, port } = new URL(`tcp://${address}`);
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port), timeout: CONNECT_MS });
    socket.once('connect', () => resolve(void socket.destroy()));
    socket.once('timeout', () => socket.destroy(new Error(`no connection within ${CONNECT_MS / 1000} s`)));
    socket.once('error', reject);
  });
}

/** A client for starting and watching runs. @throws SpillwayError `EngineUnreachable` */
export async function connect(
  temporal: ResolvedConfig['temporal'],
): Promise<{ client: Client; connection: Connection }> {
  try {
    await listens(temporal.address);
    const connection = await Connection.connect({ address: temporal.address, connectTimeout: CONNECT_MS });
    return { connection, client: new Client({ connection, namespace: temporal.namespace }) };
  } catch (error) {
    throw unreachable(temporal.address, error);
  }
}

/** The connection that Workers poll on. @throws SpillwayError `EngineUnreachable` */
export async function connectWorkers(temporal: ResolvedConfig['temporal']): Promise<NativeConnection> {
  try {
    await listens(temporal.address);
    return await NativeConnection.connect({ address: temporal.address });
  } catch (error) {
    throw unreachable(temporal.address, error);
  }
}
