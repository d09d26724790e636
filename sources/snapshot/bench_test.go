package snapshot_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	file "haloingest/sinks/parquet"
	"haloingest/sources/snapshot"
)

// BenchmarkChanges reads segments of 500 conversations of 8 messages, 4.5 KB a row: the client's side of a replay, with nobody who takes the rows.
func BenchmarkChanges(b *testing.B) {
	for _, rows := range []int{500, 2000} {
		b.Run(fmt.Sprint("rows=", rows), func(b *testing.B) {
			store := memory{}
			const segments = 4
			var batches []pipeline.Batch[record.Change]
			for i := range segments {
				batches = append(batches, pipeline.Batch[record.Change]{Items: conversations(i*rows, rows)})
			}
			keep(b, store, newManifest(), "conversations", batches...)
			s := open(b, store, snapshot.Options{Layers: []string{file.LayerRows}})
			list := s.Runs[0].Streams(file.LayerRows)[0].Segments
			r := s.NewReader()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began, n := time.Now(), 0
			for b.Loop() {
				for _, seg := range list {
					c, err := r.Changes(context.Background(), seg)
					if err != nil {
						b.Fatal(err)
					}
					n += len(c.Items)
				}
			}
			spent := time.Since(began)
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(spent.Microseconds())/float64(n), "µs/row")
			b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(n), "allocs/row")
			b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(n), "B/row")
		})
	}
}

// conversations makes sealed conversations of about 4.5 KB.
func conversations(from, n int) []record.Change {
	random := rand.New(rand.NewPCG(uint64(from), 2))
	var words []string
	for range 4000 {
		w := make([]byte, 2+random.IntN(9))
		for i := range w {
			w[i] = "etaoinshrdlucmfwypvbgkjqxz"[min(random.IntN(26), random.IntN(26))]
		}
		words = append(words, string(w))
	}
	text := func(n int) string {
		var b strings.Builder
		for b.Len() < n {
			b.WriteString(words[min(random.IntN(len(words)), random.IntN(len(words)))])
			b.WriteByte(' ')
		}
		return b.String()
	}
	var e record.Encoder
	list := make([]record.Change, n)
	at := time.Date(2025, 5, 6, 7, 8, 9, 0, time.UTC)
	for i := range list {
		id := fmt.Sprint(from + i)
		t := &record.TranscriptRow{Head: record.Head{
			Org: org, ID: record.RowID(org, record.KindConversation, id), SourceID: id, SourceUpdatedAt: at, SourceCreatedAt: at,
		}, SessionID: "s" + id, Subject: text(30), MessageCount: 8, ExpectedMessageCount: 8, Complete: true, Status: "completed",
			StartedAt: at, EndedAt: at, Metadata: []byte(`{"source":"intercom","channel":"email"}`)}
		var messages []record.Message
		for m := range 8 {
			messages = append(messages, record.Message{ID: fmt.Sprint(from+i, m), Speaker: record.SpeakerUser, Kind: "comment", Text: text(360), At: at, AuthorID: "abc", AuthorName: "Some Body"})
		}
		t.MessagesJSON = record.AppendMessages(nil, messages)
		t.KnowledgeHash = record.KnowledgeHash(&e, nil)
		t.Seal(&e)
		list[i] = record.Change{Kind: record.KindConversation, SourceID: id, Version: record.Version{UpdatedAt: at, FetchedAt: at}, Transcript: t}
	}
	return list
}
