import { Client, Connection, isGrpcServiceError } from '@temporalio/client';
import { NativeConnection } from '@temporalio/worker';
import type { ResolvedTemporal } from '../config/resolved.ts';
import { SpillwayError } from '../contracts/errors.ts';
import { probeTcp } from '../host/tcp-probe.ts';

const CONNECT_MS = 4_000;
/** gRPC's status code. */
const NOT_FOUND = 5;

/** A client for starting and watching runs. @throws SpillwayError `EngineUnreachable` */
export async function connect(temporal: ResolvedTemporal): Promise<{ client: Client; connection: Connection }> {
  const connection = await reach(temporal, () =>
    Connection.connect({ address: temporal.address, connectTimeout: CONNECT_MS, ...temporal.access }),
  );
  await requireNamespace(connection, temporal).catch(async (error: unknown) => {
    await connection.close();
    throw error;
  });
  return { connection, client: new Client({ connection, namespace: temporal.namespace }) };
}

/** What a server answers that has no such namespace; one that does not let us ask is told from it. */
async function requireNamespace(
  { workflowService }: Connection,
  { address, namespace }: ResolvedTemporal,
): Promise<void> {
  try {
    await workflowService.describeNamespace({ namespace });
  } catch (cause) {
    if (!isGrpcServiceError(cause) || Number(cause.code) !== NOT_FOUND) return;
    const mend = `temporal operator namespace create --namespace ${namespace} --address ${address}`;
    throw new SpillwayError('EngineUnreachable', `Temporal at ${address} has no namespace '${namespace}'. Create it with \`${mend}\`, or set temporal.namespace.`, { cause, details: { mend } }); // prettier-ignore
  }
}

/** The connection that Workers poll on. @throws SpillwayError `EngineUnreachable` */
export const connectWorkers = (temporal: ResolvedTemporal): Promise<NativeConnection> =>
  reach(temporal, () => NativeConnection.connect({ address: temporal.address, ...temporal.access }));

/** gRPC goes on trying a refused address until its time is over; the probe hears of it at once, and tells a silent server from a strict one. */
async function reach<T>(temporal: ResolvedTemporal, open: () => Promise<T>): Promise<T> {
  const { address } = temporal;
  try {
    await probeTcp(address, CONNECT_MS);
  } catch (cause) {
    throw new SpillwayError(
      'EngineUnreachable',
      `Temporal at ${address} does not answer. Start it with \`spillway up\`, or set temporal.address.`,
      { cause },
    );
  }
  try {
    return await open();
  } catch (cause) {
    throw new SpillwayError(
      'EngineUnreachable',
      `Temporal at ${address} listens, but does not let us in ${using(temporal)}: ${reasonOf(cause)}. Check temporal.profile: TLS, certificates and API key.`,
      { cause },
    );
  }
}

/** gRPC wraps what the server said. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? reasonOf(error.cause) : error.message.split('\n')[0]!.replace(/\.$/, '');
}

function using({ profile, access }: ResolvedTemporal): string {
  const means = [
    access?.tls ? 'TLS' : 'plain text',
    ...(typeof access?.tls === 'object' && access.tls.clientCertPair ? ['a client certificate'] : []),
    ...(access?.apiKey === undefined ? [] : ['an API key']),
  ];
  return `with ${means.join(', ')}${profile === undefined ? '' : ` (profile ${profile})`}`;
}
