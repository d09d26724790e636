package parquet

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"time"
)

// NumBuckets is how many fingerprints a file has.
const NumBuckets = 16

// Fingerprints sum up the rows of a file, whatever their order: see FileInfo.Buckets. The zero value is that of no rows. Not safe for
// concurrent use.
type Fingerprints struct {
	sums [NumBuckets]sum128
	buf  []byte
}

type sum128 struct{ high, low uint64 }

// Add adds a row. fetchedAt is zero where its table has no such column. The content is
//
//	pages               the body; of what is gone the reason, NUL, merged_into, NUL, the body
//	tombstones          the kind, NUL, the reason, NUL, merged_into
//	rejects             stage, NUL, kind, NUL, field, NUL, reason, NUL, payload
//	every other table   content_hash
func (f *Fingerprints) Add(sourceID string, fetchedAt time.Time, content ...string) {
	f.begin(sourceID, fetchedAt)
	for i, part := range content {
		if i > 0 {
			f.buf = append(f.buf, 0)
		}
		f.buf = append(f.buf, part...)
	}
	f.end(sourceID)
}

// AddBytes is Add with one part.
func (f *Fingerprints) AddBytes(sourceID string, fetchedAt time.Time, content []byte) {
	f.begin(sourceID, fetchedAt)
	f.buf = append(f.buf, content...)
	f.end(sourceID)
}

// begin writes the row's key: source_id, NUL, and fetched_at as microseconds since 1970 in 8 bytes, most significant first, 0 where there
// is none.
func (f *Fingerprints) begin(sourceID string, fetchedAt time.Time) {
	f.buf = append(append(f.buf[:0], sourceID...), 0)
	var at int64
	if !fetchedAt.IsZero() {
		at = fetchedAt.UnixMicro()
	}
	f.buf = binary.BigEndian.AppendUint64(f.buf, uint64(at))
}

func (f *Fingerprints) end(sourceID string) {
	sum := sha256.Sum256(f.buf)
	key := sha256.Sum256(f.buf[:len(sourceID)])
	b := &f.sums[key[0]%NumBuckets]
	var carry uint64
	b.low, carry = bits.Add64(b.low, binary.BigEndian.Uint64(sum[8:16]), 0)
	b.high, _ = bits.Add64(b.high, binary.BigEndian.Uint64(sum[:8]), carry)
}

// Texts returns the sums as they stand in FileInfo.
func (f *Fingerprints) Texts() []string {
	out := make([]string, NumBuckets)
	var sum [16]byte
	for i, b := range f.sums {
		binary.BigEndian.PutUint64(sum[:8], b.high)
		binary.BigEndian.PutUint64(sum[8:], b.low)
		out[i] = hex.EncodeToString(sum[:])
	}
	return out
}

func (f *Fingerprints) reset() { f.sums = [NumBuckets]sum128{} }
