import { once } from 'node:events';
import { connect, createSecureServer, type IncomingHttpHeaders } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { generate } from 'selfsigned';

/** What a client needs to be let in. */
export interface SecuredFront extends AsyncDisposable {
  /** `localhost:port`, the name in the certificate. */
  address: string;
  /** PEM texts: the authority of both sides, and the client's pair. */
  authority: string;
  clientCert: string;
  clientKey: string;
}

const UNAUTHENTICATED = '16';

/**
 * TLS before a real Temporal server, which has none when started for development: asks for a client certificate of its authority and,
 * with `apiKey`, for that key in every call, and passes the calls on.
 */
export async function secureFront(backend: string, apiKey?: string): Promise<SecuredFront> {
  const ca = await generate([{ name: 'commonName', value: 'authority of a test' }], {
    extensions: [{ name: 'basicConstraints', cA: true, critical: true }],
  });
  const signed = (commonName: string) =>
    generate([{ name: 'commonName', value: commonName }], {
      ca: { key: ca.private, cert: ca.cert },
      extensions: [{ name: 'subjectAltName', altNames: [{ type: 2, value: 'localhost' }] }],
    });
  const [server, client] = await Promise.all([signed('localhost'), signed('worker')]);
  const behind = connect(`http://${backend}`);
  const front = createSecureServer({
    key: server.private,
    cert: server.cert,
    ca: ca.cert,
    requestCert: true,
    rejectUnauthorized: true,
  });
  front.on('sessionError', () => undefined); // a refused client
  front.on('stream', (stream, headers) => {
    stream.on('error', () => undefined);
    if (apiKey !== undefined && headers.authorization !== `Bearer ${apiKey}`) {
      stream.respond(
        {
          ':status': 200,
          'content-type': 'application/grpc',
          'grpc-status': UNAUTHENTICATED,
          'grpc-message': 'wrong API key',
        },
        { endStream: true },
      );
      return;
    }
    const call = behind.request({ ...headers, ':authority': backend, ':scheme': 'http' });
    call.on('error', () => stream.close());
    stream.on('close', () => call.close());
    call.on('response', (response, _flags) => {
      const { 'grpc-status': status, ...plain } = response;
      if (status !== undefined) stream.respond({ ...plain, 'grpc-status': status }, { endStream: true });
      else stream.respond(plain, { waitForTrailers: true });
    });
    stream.on('wantTrailers', () => stream.sendTrailers(trailers));
    let trailers: IncomingHttpHeaders = {};
    call.on('trailers', (said: IncomingHttpHeaders) => (trailers = said));
    stream.pipe(call);
    call.pipe(stream);
  });
  front.listen(0, '127.0.0.1');
  await once(front, 'listening');
  const sessions = new Set<{ destroy(): void }>();
  front.on('session', (session) => sessions.add(session));
  return {
    address: `localhost:${(front.address() as AddressInfo).port}`,
    authority: ca.cert,
    clientCert: client.cert,
    clientKey: client.private,
    async [Symbol.asyncDispose]() {
      behind.destroy();
      for (const session of sessions) session.destroy();
      await new Promise((closed) => front.close(closed));
    },
  };
}
