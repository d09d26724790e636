package diff

import (
	"context"
	"encoding/binary"
	"iter"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"haloingest/pipeline/record"
)

// counted yields n fingerprints that cost nothing to make.
type counted struct {
	inMemory
	n int
}

func (c *counted) Count(context.Context, string) (int64, bool, error) { return 0, false, nil }

func (c *counted) Fingerprints(_ context.Context, entity string, _ Level) iter.Seq2[[]record.Fingerprint, error] {
	return func(yield func([]record.Fingerprint, error) bool) {
		if entity != "transcripts" {
			return
		}
		batch := make([]record.Fingerprint, 0, 1024)
		for i := range c.n {
			f := record.Fingerprint{SourceID: strconv.Itoa(215_000_000 + i), UpdatedAt: int64(i), FetchedAt: 1, Count: 1}
			binary.BigEndian.PutUint64(f.Hash[:], uint64(i)*0x9e3779b97f4a7c15)
			if batch = append(batch, f); len(batch) == cap(batch) {
				if !yield(batch, nil) {
					return
				}
				batch = batch[:0]
			}
		}
		yield(batch, nil)
	}
}

// BenchmarkCompare is the engine alone: HALOINGEST_BENCH_ROWS (1,000,000) fingerprints on each side, all equal. Memory is the most that the Go runtime had
// from the system, looked at once in 10,000 rows.
func BenchmarkCompare(b *testing.B) {
	n, err := strconv.Atoi(os.Getenv("HALOINGEST_BENCH_ROWS"))
	if err != nil {
		n = 1_000_000
	}
	var most atomic.Uint64
	var spilled int64
	for b.Loop() {
		runtime.GC()
		began := time.Now()
		r, err := Compare(b.Context(), &counted{n: n}, &counted{n: n}, Options{TempDir: b.TempDir(), Without: []string{"knowledge"}, Progress: func(Progress) {
			samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
			metrics.Read(samples)
			for now := samples[0].Value.Uint64() - samples[1].Value.Uint64(); ; {
				old := most.Load()
				if now <= old || most.CompareAndSwap(old, now) {
					return
				}
			}
		}})
		if err != nil || r.Entities[2].Counts.Matched != int64(n) {
			b.Fatalf("%v: %s", err, r.Sentence)
		}
		spilled = r.PeakSpill
		b.Logf("%d rows on each side in %v", n, time.Since(began).Round(time.Millisecond))
	}
	b.ReportMetric(float64(most.Load())/(1<<20), "peak-MB")
	b.ReportMetric(float64(spilled)/(1<<20), "spilled-MB")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(2*n), "ns/row")
}
