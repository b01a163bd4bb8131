/** One page of Trino's REST protocol, as far as a probe reads it. */
interface Page {
  nextUri?: string;
  data?: unknown[][];
  error?: { message: string; errorName: string };
}

/**
 * Version of a Trino when a real scan goes through; rejects otherwise.
 *
 * Neither `/v1/info` nor `select 1` will do: for some seconds after "SERVER STARTED" the coordinator answers both and
 * knows no node to scan on. Give a statement that reads a table.
 */
export async function probeTrino(url: string, statement: string): Promise<string> {
  const signal = AbortSignal.timeout(20_000);
  const info = (await json(`${url}/v1/info`, { signal })) as { nodeVersion?: { version?: string }; starting?: boolean };
  if (info.starting === true) throw new Error('it is still starting');
  const headers = { 'X-Trino-User': 'spillway', 'X-Trino-Source': 'spillway-probe' };
  let page = (await json(`${url}/v1/statement`, { method: 'POST', body: statement, headers, signal })) as Page;
  let rows = page.data?.length ?? 0;
  while (page.nextUri !== undefined) {
    page = (await json(page.nextUri, { headers, signal })) as Page;
    rows += page.data?.length ?? 0;
  }
  if (page.error) throw new Error(`${page.error.errorName}: ${page.error.message}`);
  if (rows === 0) throw new Error('the scan gave no rows');
  return info.nodeVersion?.version ?? 'unknown';
}

async function json(url: string, init: RequestInit): Promise<unknown> {
  const response = await fetch(url, init);
  if (!response.ok) throw new Error(`${url} answers ${response.status}`);
  return response.json();
}
