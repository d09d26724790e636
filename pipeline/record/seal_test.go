package record

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"
)

// notHashed names the fields that a row's hash leaves out. Every other exported field must change it.
var notHashed = map[string][]string{
	"Head":          {"Org", "ID", "SourceCreatedAt", "Hash"},
	"EndUserRow":    {"EmailKey", "FirstSeen", "LastSeen", "LastContactedAt"},
	"TranscriptRow": {"Messages", "KnowledgeHash", "Distill"}, // the messages count through MessagesJSON
	"KnowledgeRow":  {"Org", "ID", "Hash"},
}

func TestEveryValueOfARowIsPartOfItsHashExceptTheOnesNamed(t *testing.T) {
	var e Encoder
	check(t, func(r *EndUserRow) Digest { r.Seal(&e); return r.Hash })
	check(t, func(r *CompanyRow) Digest { r.Seal(&e); return r.Hash })
	check(t, func(r *TranscriptRow) Digest { r.Seal(&e); return r.Hash })
	check(t, func(r *TicketRow) Digest { r.Seal(&e); return r.Hash })
	check(t, func(r *KnowledgeRow) Digest { r.Seal(&e); return r.Hash })
}

func check[R any](t *testing.T, seal func(*R) Digest) {
	empty := seal(new(R))
	seen := map[Digest]string{empty: "the empty row"}
	var walk func(typ reflect.Type, at func(*R) reflect.Value, prefix string)
	walk = func(typ reflect.Type, at func(*R) reflect.Value, prefix string) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			name := prefix + "." + f.Name
			in := func(r *R) reflect.Value { return at(r).Field(i) }
			if f.Anonymous {
				walk(f.Type, in, name)
				continue
			}
			var r R
			change(t, in(&r), name)
			got := seal(&r)
			if slices.Contains(notHashed[typ.Name()], f.Name) {
				if got != empty {
					t.Errorf("%s changes the hash", name)
				}
				continue
			}
			if other, twice := seen[got]; twice {
				t.Errorf("the hash cannot tell %s from %s", name, other)
			}
			seen[got] = name
		}
	}
	typ := reflect.TypeFor[R]()
	walk(typ, func(r *R) reflect.Value { return reflect.ValueOf(r).Elem() }, typ.Name())
}

func change(t *testing.T, v reflect.Value, name string) {
	switch p := v.Addr().Interface().(type) {
	case *string:
		*p = "x"
	case *int:
		*p = 7
	case *bool:
		*p = true
	case *time.Time:
		*p = time.Unix(1_700_000_000, 0)
	case *json.RawMessage:
		*p = json.RawMessage(`{"a":1}`)
	case *[]string:
		*p = []string{"x"}
	case *UUID:
		*p = UUID{1}
	case *Digest:
		*p = Digest{1}
	case *[]Message:
		*p = []Message{{ID: "1"}}
	case *DistillInput:
		p.State = "open"
	default:
		t.Fatalf("%s has a type that this test does not know: %T", name, p)
	}
}

func TestKnowledgeHashKnowsRowsAndTheirOrder(t *testing.T) {
	var e Encoder
	a, b := KnowledgeRow{Key: "a"}, KnowledgeRow{Key: "b"}
	a.Seal(&e)
	b.Seal(&e)
	hashes := []Digest{
		{}, KnowledgeHash(&e, nil), KnowledgeHash(&e, []KnowledgeRow{a}), KnowledgeHash(&e, []KnowledgeRow{b}),
		KnowledgeHash(&e, []KnowledgeRow{a, b}), KnowledgeHash(&e, []KnowledgeRow{b, a}),
	}
	for i := range hashes {
		if slices.Index(hashes, hashes[i]) != i {
			t.Errorf("hash %d equals hash %d", i, slices.Index(hashes, hashes[i]))
		}
	}
	if KnowledgeHash(&e, []KnowledgeRow{}) != KnowledgeHash(&e, nil) {
		t.Error("no rows have two hashes")
	}
}
