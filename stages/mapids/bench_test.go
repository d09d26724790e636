package mapids_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"haloingest/pipeline/record"
	"haloingest/sources/intercom/intercomtest"
	"haloingest/stages/extract"
	"haloingest/stages/mapids"
)

// BenchmarkConversation takes simulated conversations through extract and map-ids, in batches of 100 on
// one core; MB/s are of the API's JSON.
func BenchmarkConversation(b *testing.B) {
	w, err := intercomtest.New(intercomtest.Options{Seed: 5, Conversations: 300, Oddities: -1})
	if err != nil {
		b.Fatal(err)
	}
	var objects []record.Object
	size, messages := 0, 0
	for c := range w.Ledger().Conversations() {
		r := httptest.NewRequest(http.MethodGet, "/conversations/"+c.ID, nil)
		r.Header.Set("Authorization", "Bearer "+intercomtest.TestToken)
		r.Header.Set("Accept", "application/json")
		r.Header.Set("Intercom-Version", "2.16")
		answer := httptest.NewRecorder()
		w.ServeHTTP(answer, r)
		objects = append(objects, record.Object{Kind: record.KindConversation, ID: c.ID, Body: answer.Body.Bytes(), FetchedAt: time.Unix(1_750_000_000, 0)})
		size += answer.Body.Len()
		messages += len(c.Messages)
	}
	reading := extract.New(extract.Options{})
	mapping, err := mapids.New(mapids.Config{Org: org})
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	b.ReportAllocs()
	b.SetBytes(int64(size / len(objects)))
	b.ResetTimer()
	before := cpu(b)
	for n := 0; n < b.N; {
		at := n % (len(objects) - 100)
		batch := objects[at : at+min(100, b.N-n)]
		items, err := reading.Process(ctx, batch)
		if err != nil || len(items.Rejects) > 0 {
			b.Fatal(err, items.Rejects)
		}
		changes, err := mapping.Process(ctx, items.Items)
		if err != nil || len(changes.Rejects) > 0 {
			b.Fatal(err, changes.Rejects)
		}
		n += len(batch)
	}
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(messages)/float64(len(objects)), "messages/op")
}

// cpu is the time that the process has spent computing, which other work on the machine does not stretch.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
