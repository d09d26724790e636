package mapids

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

var org = record.UUID{0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x33, 0x33, 0x44, 0x44, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55}

var reference = record.Reference{
	Admins: map[string]record.Admin{"7": {Name: "Ciaran Lee", Email: "ciaran@example.com"}},
	Teams:  map[string]string{"8": "Support"},
}

func day(n int) time.Time { return time.Date(2024, 3, n, 12, 0, 0, 0, time.UTC) }

var fetched = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

func raw(s string) json.RawMessage { return json.RawMessage(s) }

func objectOf(kind record.Kind) *record.Object {
	return &record.Object{Kind: kind, ID: "o", Body: []byte(`{"raw":1}`), FetchedAt: fetched}
}

func itemOf(v any) record.Item {
	switch v := v.(type) {
	case *record.Contact:
		return record.Item{Object: objectOf(record.KindContact), Contact: v}
	case *record.Company:
		return record.Item{Object: objectOf(record.KindCompany), Company: v}
	case *record.Conversation:
		return record.Item{Object: objectOf(record.KindConversation), Conversation: v}
	case *record.Ticket:
		return record.Item{Object: objectOf(record.KindTicket), Ticket: v}
	}
	panic("no record")
}

type failer interface{ Fatalf(string, ...any) }

func process(t failer, c Config, items ...record.Item) pipeline.Result[record.Change] {
	c.Org = org
	if c.Reference.Admins == nil {
		c.Reference = reference
	}
	s, err := New(c)
	if err != nil {
		t.Fatalf("%v", err)
	}
	result, err := s.Process(context.Background(), items)
	if err != nil {
		t.Fatalf("%v", err)
	}
	if len(result.Items)+len(result.Rejects) != len(items) {
		t.Fatalf("%d items became %d changes and %d rejects", len(items), len(result.Items), len(result.Rejects))
	}
	return result
}

// mapped maps one record that must pass.
func mapped(t failer, c Config, v any) record.Change {
	if tt, ok := t.(testing.TB); ok {
		tt.Helper()
	}
	result := process(t, c, itemOf(v))
	if len(result.Rejects) > 0 {
		t.Fatalf("rejected: %s", result.Rejects[0].Reason)
	}
	return result.Items[0]
}

// object reads a JSON object.
func object(t failer, doc json.RawMessage) map[string]any {
	var m map[string]any
	if err := json.Unmarshal(doc, &m); err != nil {
		t.Fatalf("%s: %v", doc, err)
	}
	return m
}
