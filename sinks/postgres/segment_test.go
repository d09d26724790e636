package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres/localpg/pgtest"
)

func segment(i int) (string, []record.Change) {
	var list []record.Change
	for j := range 5 {
		list = append(list, conversationChange(orgA, fmt.Sprint("v", i, "-", j), fmt.Sprint("c", j), 1, []string{"one", "two"}, nil))
	}
	return fmt.Sprint("segment ", i), list
}

func (x *loading) people(n int) {
	var list []record.Change
	for i := range n {
		list = append(list, contactChange(orgA, fmt.Sprint("c", i), 1, nil))
	}
	x.commit(list...)
}

const segmentSQL = `SELECT v.source_id || ' ' || v.subject || ' ' || coalesce(u.source_id, '') || ' ' || (SELECT count(*) FROM knowledge k WHERE k.transcript_id = v.id AND k.end_user_id = u.id)
	FROM transcripts v LEFT JOIN end_users u ON u.id = v.end_user_id`

// Two sinks take segments from one heap, whoever is quicker, in random order, some of them twice; sessions are killed, answers of COMMIT are lost, and now and then
// both begin anew as after a crash.
func TestSegmentsAreLoadedOnceByTwoSinksInAnyOrder(t *testing.T) {
	url := pgtest.New(t)
	direct := openURL(t, url)
	if _, err := direct.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := newProxy(t, url)
	db := openURL(t, p.url)
	lease := acquire(t, db, orgA)
	x := loadingOn(t, db, lease, "people")
	x.people(5)
	const segments = 40
	run := startRun(t, lease, RunSpec{Kind: "replay"})
	random := rand.New(rand.NewPCG(1, 2))
	loads := make(map[string]int)
	for attempt := 0; ; attempt++ {
		done, err := run.Segments(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var heap []int
		for i := range segments {
			if name, _ := segment(i); !done[name] {
				heap = append(heap, i, i)
			}
		}
		if len(heap) == 0 {
			break
		}
		if attempt == 20 {
			t.Fatalf("%d segments are left", len(heap)/2)
		}
		random.Shuffle(len(heap), func(i, j int) { heap[i], heap[j] = heap[j], heap[i] })
		var mu sync.Mutex
		crashAt := random.IntN(12) + 1
		var group sync.WaitGroup
		for lane := range 2 {
			sink := run.Sink(fmt.Sprint("lane ", lane), SinkOptions{})
			sink.fault = func(point string) error {
				mu.Lock()
				defer mu.Unlock()
				if random.IntN(20) == 0 {
					p.set([]fault{loseCommit, loseAnswer}[random.IntN(2)])
				}
				if crashAt--; crashAt <= 0 && attempt < 10 && (point == "loaded" || point == "before commit" || point == "committed") {
					return errCrash
				}
				return nil
			}
			group.Go(func() {
				defer sink.Close(context.WithoutCancel(t.Context()))
				for {
					mu.Lock()
					if len(heap) == 0 {
						mu.Unlock()
						return
					}
					name, list := segment(heap[0])
					heap = heap[1:]
					mu.Unlock()
					loaded, err := sink.CommitSegment(t.Context(), name, pipeline.Batch[record.Change]{Items: list})
					if errors.Is(err, errCrash) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					if loaded {
						mu.Lock()
						loads[name]++
						mu.Unlock()
					}
				}
			})
		}
		group.Wait()
	}
	for name, n := range loads {
		if n != 1 {
			t.Errorf("%s was loaded %d times", name, n)
		}
	}
	var want []string
	for i := range segments {
		for j := range 5 {
			want = append(want, fmt.Sprintf("v%d-%d v%d-%d v1 c%d 2", i, j, i, j, j))
		}
	}
	if diff := cmp.Diff(sorted(want), x.lines(segmentSQL)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	info, err := db.RunInfo(t.Context(), orgA, run.ID.String())
	wantCounts(t, "the run", info.Counts, pipeline.Counts{"load/transcripts/inserted": 5 * segments, "load/knowledge/inserted": 10 * segments})
	if err != nil {
		t.Fatal(err)
	}
}

func sorted(list []string) []string {
	return slices.Sorted(slices.Values(list))
}
func TestASegmentOfASinkWhoseLeaseWasTakenOverIsNotLoaded(t *testing.T) {
	x := newLoading(t)
	name, list := segment(1)
	if loaded, err := x.sink.CommitSegment(t.Context(), name, pipeline.Batch[record.Change]{Items: list}); err != nil || !loaded {
		t.Fatal(loaded, err)
	}
	x.exec(`UPDATE ingest.leases SET epoch = epoch + 1 WHERE org_id = $1`, orgA)
	x.exec(`UPDATE ingest.checkpoints SET epoch = epoch + 1 WHERE org_id = $1`, orgA)
	name, list = segment(2)
	if _, err := x.sink.CommitSegment(t.Context(), name, pipeline.Batch[record.Change]{Items: list}); !errors.Is(err, ErrFenced) {
		t.Fatalf("error: %v, want ErrFenced", err)
	}
	if got := x.table(`SELECT name, stream, items FROM ingest.segments`); len(got) != 1 {
		t.Errorf("segments: %v", got)
	}
	if got := x.table(`SELECT count(*) FROM transcripts`); got[0] != "(5)" {
		t.Errorf("transcripts: %v", got)
	}
}

func TestASegmentNeedsAName(t *testing.T) {
	x := newLoading(t)
	for _, name := range []string{"", "a\x00b", noise(600)} {
		if _, err := x.sink.CommitSegment(t.Context(), name, pipeline.Batch[record.Change]{}); !errors.Is(err, ErrInvariant) {
			t.Errorf("%.20q: %v", name, err)
		}
	}
}
