import type { WorkflowHandle } from '@temporalio/client';
import { temporal } from '@temporalio/proto';

const { History } = temporal.api.history.v1;

type Fetches = Pick<WorkflowHandle, 'fetchHistory'>;
interface Payload {
  /** Base64. */
  data: string;
}

/** An event as plain JSON; what tests look at. */
export interface HistoryEvent {
  eventId: string;
  eventType: string;
  eventTime?: { seconds: string; nanos: number };
  userMetadata?: { summary?: Payload };
  markerRecordedEventAttributes?: { markerName: string; details: Record<string, { payloads: Payload[] }> };
  activityTaskScheduledEventAttributes?: { activityType: { name: string }; taskQueue: { name: string } };
  workflowExecutionUpdateAcceptedEventAttributes?: {
    acceptedRequest?: { input: { name: string; args?: { payloads: Payload[] } } };
  };
  workflowExecutionStartedEventAttributes?: { workflowType: { name: string }; input?: { payloads: Payload[] } };
}

/** A history as a file holds it. */
export interface RecordedHistory {
  events: HistoryEvent[];
}

/** The whole history of a run, as plain JSON. */
export async function historyOf(handle: Fetches): Promise<RecordedHistory> {
  const plain = History.toObject(History.fromObject(await handle.fetchHistory()), {
    longs: String,
    enums: String,
    bytes: String,
  });
  return plain as RecordedHistory;
}

/** The history that was recorded, as the worker replays it. */
export const readHistory = (recorded: RecordedHistory): temporal.api.history.v1.History => History.fromObject(recorded);

/** Events of a run, in order. */
export async function eventsOf(handle: Fetches): Promise<HistoryEvent[]> {
  return (await historyOf(handle)).events;
}

/** Name of an event's type, as `ACTIVITY_TASK_SCHEDULED`. */
export const typeOf = (event: HistoryEvent): string => event.eventType.replace('EVENT_TYPE_', '');

/** How often each type of event occurs. */
export function countTypes(events: HistoryEvent[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const event of events) counts[typeOf(event)] = (counts[typeOf(event)] ?? 0) + 1;
  return counts;
}

/** Local activities as they were recorded, in order. */
export function localActivities(events: HistoryEvent[]): string[] {
  return events.flatMap(({ markerRecordedEventAttributes: marker }) => {
    const data = marker?.markerName === 'core_local_activity' ? marker.details['data']?.payloads[0] : undefined;
    return data ? [(decode(data) as { activity_type: string }).activity_type] : [];
  });
}

/** Activities that were scheduled: type, what people read, and where. */
export function scheduled(events: HistoryEvent[]): { type: string; summary: string; queue: string }[] {
  return events.flatMap(({ activityTaskScheduledEventAttributes: of, userMetadata }) => {
    if (!of) return [];
    const summary = userMetadata?.summary ? (decode(userMetadata.summary) as string) : '';
    return [{ type: of.activityType.name, summary, queue: of.taskQueue.name }];
  });
}

/** Messages that came as updates, and were answered: name and arguments. */
export function updates(events: HistoryEvent[]): { name: string; args: unknown[] }[] {
  return events.flatMap(({ workflowExecutionUpdateAcceptedEventAttributes: of }) => {
    const input = of?.acceptedRequest?.input;
    return input ? [{ name: input.name, args: (input.args?.payloads ?? []).map(decode) }] : [];
  });
}

/** What failed a run: the failure that people read first. */
export async function failureOf(handle: Pick<WorkflowHandle, 'result'>): Promise<{ type: string; message: string }> {
  const error: unknown = await handle.result().then(
    () => new Error('it completed'),
    (failed: unknown) => failed,
  );
  const { cause } = error as { cause?: { type?: string; name: string; message: string } };
  if (!cause) throw error;
  return { type: cause.type ?? cause.name, message: cause.message };
}

const decode = ({ data }: Payload): unknown => JSON.parse(Buffer.from(data, 'base64').toString('utf8'));
