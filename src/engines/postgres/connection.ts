import { Client } from 'pg';

const CONNECT_MS = 10_000;

/** Opens a connection of its own to a PostgreSQL; the password stands apart from the address, which may be shown. */
export async function connectPostgres(url: string, password?: string): Promise<Client> {
  const address = new URL(url);
  // Within the address: pg lets a connection string without a password erase the one given beside it.
  if (password !== undefined) address.password = encodeURIComponent(password);
  const client = new Client({ connectionString: address.href, connectionTimeoutMillis: CONNECT_MS, keepAlive: true });
  await client.connect();
  return client;
}
