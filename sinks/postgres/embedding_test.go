package postgres

import (
	"slices"
	"testing"

	"haloingest/pipeline/record"
)

// vectorise gives all rows of a conversation a vector.
func (l *library) vectorise(source string, v ...float32) {
	l.tb.Helper()
	var after record.UUID
	for {
		rows, err := l.db.Unembedded(l.tb.Context(), l.org, after, 100)
		if err != nil {
			l.tb.Fatal(err)
		}
		if len(rows) == 0 {
			return
		}
		after = rows[len(rows)-1].ID
		for _, r := range rows {
			if one[string](l.tb, l.db, `SELECT source_id FROM public.knowledge WHERE id = $1`, r.ID) != source {
				continue
			}
			if n, err := l.db.SetEmbeddings(l.tb.Context(), l.org, []EmbedRow{r}, [][]float32{v}); err != nil || n != 1 {
				l.tb.Fatal(n, err)
			}
		}
	}
}

// testVectors holds for either type of the column.
func testVectors(t *testing.T, l *library) {
	ada, bob := l.person(1, "a@x.example"), l.person(2, "b@x.example")
	l.put("harbour", ada, record.UUID{}, "the ship cannot find the harbour", "we look into it")
	l.put("invoice", ada, record.UUID{}, "the invoice is wrong", "we correct it")
	l.put("others", bob, record.UUID{}, "the boat cannot find its haven", "we look into it")
	if n, err := l.db.PrepareEmbeddings(t.Context(), l.org, "m"); err != nil || n != 0 {
		t.Fatal(n, err)
	}
	l.vectorise("harbour", 1, 0)
	l.vectorise("invoice", 0, 1)
	l.vectorise("others", 0.9, 0.1)
	// Said in other words, only the vector finds it; within a customer it finds nothing of another's.
	if got := l.find(SearchQuery{Text: "port"}); len(got) != 0 {
		t.Errorf("by words: %q", got)
	}
	if got := l.find(SearchQuery{Text: "port", Vector: []float32{1, 0}}); !slices.Equal(got, []string{"harbour", "others", "invoice"}) {
		t.Errorf("by vector: %q", got)
	}
	if got := l.find(SearchQuery{Text: "port", Vector: []float32{1, 0}, EndUser: bob}); !slices.Equal(got, []string{"others"}) {
		t.Errorf("within a customer: %q", got)
	}
	// Where the words say it, a vector that means something else changes nothing.
	if got := l.find(SearchQuery{Text: "wrong invoice", Vector: []float32{1, 0}}); !slices.Equal(got, []string{"invoice"}) {
		t.Errorf("words that suffice: %q", got)
	}
	// Some of the words: both count, and what both find is first.
	if got := l.find(SearchQuery{Text: "harbour quay pier dock jetty", Vector: []float32{0.8, 0.2}}); got[0] != "harbour" || len(got) != 3 {
		t.Errorf("words and vectors: %q", got)
	}
	// A row that has changed since it was read keeps no vector.
	rows, err := l.db.Unembedded(t.Context(), l.org, record.UUID{}, 100)
	if err != nil || len(rows) != 0 {
		t.Fatalf("%v, %v", rows, err)
	}
	execute(t, l.db, `UPDATE public.knowledge SET embedding = NULL WHERE source_id = 'invoice'`)
	rows, err = l.db.Unembedded(t.Context(), l.org, record.UUID{}, 100)
	if err != nil || len(rows) != 1 {
		t.Fatalf("%v, %v", rows, err)
	}
	execute(t, l.db, `UPDATE public.knowledge SET content_hash = 'other' WHERE source_id = 'invoice'`)
	if n, err := l.db.SetEmbeddings(t.Context(), l.org, rows, [][]float32{{0, 1}}); err != nil || n != 0 {
		t.Errorf("a changed row got %d vectors, %v", n, err)
	}
	// Another model's vectors cannot be compared with the first one's.
	if n, err := l.db.PrepareEmbeddings(t.Context(), l.org, "m2"); err != nil || n != 2 {
		t.Errorf("%d forgotten, %v", n, err)
	}
	if got := l.find(SearchQuery{Text: "port", Vector: []float32{1, 0}}); len(got) != 0 {
		t.Errorf("after that: %q", got)
	}
	if m, err := l.db.EmbeddingModel(t.Context(), l.org); m != "m2" || err != nil {
		t.Errorf("%q, %v", m, err)
	}
}

func TestVectorsInArrays(t *testing.T) { testVectors(t, newLibrary(t)) }

// pgvector is not on every machine that tests; what stands for it here has its name, casts and operator.
func TestVectorsInAnExtensionsType(t *testing.T) {
	l := newLibrary(t)
	execute(t, l.db, `CREATE DOMAIN public.vector AS real[];
		CREATE FUNCTION public.distance(vector, vector) RETURNS float8 LANGUAGE sql IMMUTABLE AS 'SELECT 1 - sum(x * y) FROM unnest($1::real[], $2::real[]) AS a(x, y)';
		CREATE OPERATOR public.<=> (LEFTARG = vector, RIGHTARG = vector, FUNCTION = public.distance)`)
	testVectors(t, l)
	if got := one[string](t, l.db, `SELECT atttypid::regtype::text FROM pg_attribute WHERE attrelid = 'public.knowledge'::regclass AND attname = 'embedding'`); got != "vector" {
		t.Errorf("the column is %s", got)
	}
}

func TestVectorsAreKeptByWhatWasEmbedded(t *testing.T) {
	l := newLibrary(t)
	keys := [][32]byte{{1}, {2}}
	if err := l.db.KeepVectors(t.Context(), l.org, keys, [][]float32{{1, 2}, {3, 4}}); err != nil {
		t.Fatal(err)
	}
	if err := l.db.KeepVectors(t.Context(), l.org, keys[:1], [][]float32{{9, 9}}); err != nil {
		t.Fatal(err)
	}
	got, err := l.db.Vectors(t.Context(), l.org, append(keys, [32]byte{3}))
	if err != nil || len(got) != 2 || !slices.Equal(got[keys[0]], []float32{1, 2}) || !slices.Equal(got[keys[1]], []float32{3, 4}) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := l.db.Vectors(t.Context(), record.UUID{7}, keys); err != nil || len(got) != 0 {
		t.Errorf("another organisation's: %v, %v", got, err)
	}
}
