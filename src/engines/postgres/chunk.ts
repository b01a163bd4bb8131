import { KiB } from '../../policy/sizes.ts';
import { MAX_FIXED_WIDTH } from './kernels/kernel.ts';

/** Bytes of a chunk. Chunk size was seen not to matter between 64 KiB and 1 MiB. */
const CHUNK_BYTES = 256 * KiB;
/** Type byte and length word of a CopyData message. */
export const FRAME_BYTES = 5;
const COPY_DATA = 0x64;
/** Begins every binary COPY: signature, flags, length of the extension. */
export const FILE_HEADER = Uint8Array.of(
  0x50,
  0x47,
  0x43,
  0x4f,
  0x50,
  0x59,
  0x0a,
  0xff,
  0x0d,
  0x0a,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
);

/** A buffer that one CopyData message is made in. Its last bytes are the waste area of null rows. */
export interface Chunk {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** Makes a chunk with room for `capacity` bytes of message. */
export function makeChunk(capacity: number = CHUNK_BYTES): Chunk {
  // Not from the shared pool of small Buffers: it lives long and is used again and again.
  const buffer = new ArrayBuffer(capacity + MAX_FIXED_WIDTH + 4);
  return { bytes: new Uint8Array(buffer), view: new DataView(buffer) };
}

/** Puts the file header alone into a chunk, as each COPY begins; answers the bytes of its message. */
export function putHeader(chunk: Chunk): number {
  chunk.bytes.set(FILE_HEADER, FRAME_BYTES);
  return FRAME_BYTES + FILE_HEADER.length;
}

/** Ends a message: writes type and length into its frame. */
export function seal(chunk: Chunk, used: number): void {
  chunk.view.setUint8(0, COPY_DATA);
  chunk.view.setInt32(1, used - 1);
}
