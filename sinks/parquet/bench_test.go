package parquet

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	arrowparquet "github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// conversations makes n transcripts of 8 messages, about 4.5 KB each (performance.md).
func conversations(n int) []record.Change {
	random := rand.New(rand.NewPCG(1, 2))
	words := strings.Fields("the order has not arrived yet and I would like to know when it was sent because our office closes on Friday " +
		"please check account invoice refund password reset export dashboard plan billing seat upgrade thanks hello team error page " +
		"shows timeout after login integration webhook token customer address label warehouse return policy discount subscription")
	org := record.UUID{1}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var encoder record.Encoder
	list := make([]record.Change, n)
	for i := range list {
		id := fmt.Sprint(215000000 + i)
		var messages strings.Builder
		for m := range 8 {
			if m > 0 {
				messages.WriteByte(',')
			}
			text := make([]string, 45+random.IntN(10))
			for w := range text {
				text[w] = words[random.IntN(len(words))]
			}
			body := strings.Join(text, " ")
			fmt.Fprintf(&messages, `{"at":"2026-01-02T03:%02d:05Z","attachments":[],"author_id":"%d","author_name":"Person %d","html":"<p>%s</p>","id":"%d","kind":"comment","speaker":"user","text":"%s"}`,
				m, random.IntN(1e6), random.IntN(1000), body, random.IntN(1e9), body[:len(body)/3])
		}
		r := &record.TranscriptRow{
			Head:      record.Head{Org: org, ID: record.RowID(org, record.KindConversation, id), SourceID: id, SourceUpdatedAt: at, SourceCreatedAt: at},
			ContactID: fmt.Sprintf("%024x", random.Uint64()), SessionID: id, Subject: strings.Join(words[i%20:i%20+6], " "),
			MessagesJSON: json.RawMessage("[" + messages.String() + "]"), MessageCount: 8, ExpectedMessageCount: 8, Complete: true,
			Status: "completed", Outcome: "resolved", StartedAt: at, EndedAt: at.Add(time.Duration(random.IntN(1e6)) * time.Second),
			Metadata: json.RawMessage(fmt.Sprintf(`{"channel":"conversation","source":"intercom","state":"closed","url":"/inbox/%d"}`, random.IntN(1e9))),
		}
		r.Seal(&encoder)
		list[i] = record.Change{Kind: record.KindConversation, SourceID: id, Version: record.Version{UpdatedAt: at, FetchedAt: at}, Transcript: r}
	}
	return list
}

// nowhere is a Store that keeps nothing but the size.
type nowhere struct {
	Store
	bytes int64
}

func (s *nowhere) Put(_ context.Context, _ string, write func(io.Writer) error) error {
	return write(s)
}

func (s *nowhere) Write(p []byte) (int, error) {
	s.bytes += int64(len(p))
	return len(p), nil
}

// BenchmarkWriting compares the writer with arrow v17's, which is given the same rows: once with the making of its columns, once
// without, zstd level 3 and pages of the same size. Variants run in turn; the ratios stand beside the goals.
func BenchmarkWriting(b *testing.B) {
	const perFile = 2000
	changes := conversations(perFile)
	record := arrowRecord(changes)
	defer record.Release()
	store := &nowhere{}
	ours := NewRows(Target{Store: store, Attempt: 1}, "conversations", 0)
	var theirSize bytes.Buffer
	write := map[string]func(){
		"ours": func() {
			store.bytes = 0
			if _, err := ours.Write(b.Context(), pipeline.Batch[changeOf]{Items: changes}); err != nil {
				b.Fatal(err)
			}
		},
		"arrow": func() {
			theirSize.Reset()
			made := arrowRecord(changes)
			defer made.Release()
			arrowWrite(b, &theirSize, made)
		},
		"arrow's columns ready": func() {
			theirSize.Reset()
			arrowWrite(b, &theirSize, record)
		},
	}
	order := []string{"ours", "arrow", "arrow's columns ready"}
	took := map[string][]time.Duration{}
	for _, name := range order {
		write[name]() // warms up
	}
	b.ResetTimer()
	for range b.N {
		for _, name := range order {
			start := time.Now()
			write[name]()
			took[name] = append(took[name], time.Since(start))
		}
	}
	b.StopTimer()
	allocations := testing.AllocsPerRun(5, write["ours"]) / perFile
	rate := func(name string) float64 { return perFile / median(took[name]).Seconds() }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(rate("ours"), "rows/s")
	b.ReportMetric(rate("ours")/rate("arrow"), "x_arrow(goal>=1.2)")
	b.ReportMetric(rate("ours")/rate("arrow's columns ready"), "x_arrow_ready")
	b.ReportMetric(float64(store.bytes)/float64(theirSize.Len()), "size_ratio(goal<=1.08)")
	b.ReportMetric(allocations, "allocs/row(goal<=0.2)")
	b.ReportMetric(float64(store.bytes)/perFile, "B/row")
}

type changeOf = record.Change

func median(list []time.Duration) time.Duration {
	sorted := append([]time.Duration(nil), list...)
	for i := range sorted {
		for j := i; j > 0 && sorted[j] < sorted[j-1]; j-- {
			sorted[j], sorted[j-1] = sorted[j-1], sorted[j]
		}
	}
	return sorted[len(sorted)/2]
}

var (
	instant = &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	bytes16 = &arrow.FixedSizeBinaryType{ByteWidth: 16}
	text    = arrow.BinaryTypes.String
	blob    = arrow.BinaryTypes.Binary
	number  = arrow.PrimitiveTypes.Int64
)

// arrowColumns are the columns of TranscriptRow.
var arrowColumns = arrow.NewSchema([]arrow.Field{
	{Name: "org_id", Type: bytes16}, {Name: "id", Type: bytes16}, {Name: "source_id", Type: text},
	{Name: "source_updated_at", Type: instant, Nullable: true}, {Name: "source_created_at", Type: instant, Nullable: true},
	{Name: "fetched_at", Type: instant}, {Name: "content_hash", Type: bytes16},
	{Name: "source_contact_id", Type: text, Nullable: true}, {Name: "source_company_id", Type: text, Nullable: true},
	{Name: "session_id", Type: text, Nullable: true}, {Name: "subject", Type: text, Nullable: true},
	{Name: "message_count", Type: number}, {Name: "expected_message_count", Type: number}, {Name: "complete", Type: arrow.FixedWidthTypes.Boolean},
	{Name: "status", Type: text, Nullable: true}, {Name: "outcome", Type: text, Nullable: true},
	{Name: "started_at", Type: instant, Nullable: true}, {Name: "ended_at", Type: instant, Nullable: true},
	{Name: "metadata", Type: blob}, {Name: "knowledge_hash", Type: bytes16}, {Name: "knowledge_count", Type: number}, {Name: "messages", Type: blob},
}, nil)

func arrowRecord(changes []record.Change) arrow.Record {
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrowColumns)
	defer b.Release()
	n := 0
	next := func() array.Builder { n++; return b.Field(n - 1) }
	fixed := func(v [16]byte) { next().(*array.FixedSizeBinaryBuilder).Append(v[:]) }
	words := func(s string) {
		if s == "" {
			next().AppendNull()
			return
		}
		next().(*array.StringBuilder).Append(s)
	}
	when := func(t time.Time) {
		if t.IsZero() {
			next().AppendNull()
			return
		}
		next().(*array.TimestampBuilder).Append(arrow.Timestamp(t.UnixMicro()))
	}
	count := func(k int) { next().(*array.Int64Builder).Append(int64(k)) }
	raw := func(v []byte) { next().(*array.BinaryBuilder).Append(v) }
	for i := range changes {
		r := changes[i].Transcript
		n = 0
		fixed(r.Org)
		fixed(r.ID)
		words(r.SourceID)
		when(r.SourceUpdatedAt)
		when(r.SourceCreatedAt)
		when(changes[i].Version.FetchedAt)
		fixed(r.Hash)
		words(r.ContactID)
		words(r.CompanyID)
		words(r.SessionID)
		words(r.Subject)
		count(r.MessageCount)
		count(r.ExpectedMessageCount)
		next().(*array.BooleanBuilder).Append(r.Complete)
		words(r.Status)
		words(r.Outcome)
		when(r.StartedAt)
		when(r.EndedAt)
		raw(r.Metadata)
		fixed(r.KnowledgeHash)
		count(len(changes[i].Knowledge))
		raw(r.MessagesJSON)
	}
	return b.NewRecord()
}

func arrowWrite(b *testing.B, w io.Writer, r arrow.Record) {
	b.Helper()
	properties := arrowparquet.NewWriterProperties(
		arrowparquet.WithCompression(compress.Codecs.Zstd), arrowparquet.WithCompressionLevel(3), arrowparquet.WithDataPageSize(pageBuffer),
		arrowparquet.WithDictionaryFor("messages", false), arrowparquet.WithDictionaryFor("metadata", false))
	file, err := pqarrow.NewFileWriter(arrowColumns, w, properties, pqarrow.DefaultWriterProps())
	if err == nil {
		err = file.Write(r)
	}
	if err == nil {
		err = file.Close()
	}
	if err != nil {
		b.Fatal(err)
	}
}
