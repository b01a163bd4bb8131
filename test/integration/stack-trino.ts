interface Page {
  nextUri?: string;
  data?: unknown[][];
  error?: { message: string };
}

/** Rows of a statement, read without any of the code under test. Decimals and dates come as text. */
export async function trinoRows(url: string, sql: string): Promise<unknown[][]> {
  const rows: unknown[][] = [];
  const first = await fetch(`${url}/v1/statement`, { method: 'POST', body: sql, headers: { 'X-Trino-User': 'test' } });
  for (let page = (await first.json()) as Page; ;) {
    if (page.error) throw new Error(page.error.message);
    rows.push(...(page.data ?? []));
    if (page.nextUri === undefined) return rows;
    page = (await (await fetch(page.nextUri)).json()) as Page;
  }
}
