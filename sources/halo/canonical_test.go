package halo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"haloingest/pipeline/record"
	"haloingest/sinks/postgres/localpg/pgtest"
)

// jsonbs asks PostgreSQL what it makes of documents; nil where it refuses one.
func jsonbs(tb testing.TB, conn *pgx.Conn, docs []string) [][]byte {
	tb.Helper()
	batch := &pgx.Batch{}
	for _, d := range docs {
		batch.Queue(`SELECT pg_temp.stored($1)`, d)
	}
	results := conn.SendBatch(tb.Context(), batch)
	defer results.Close()
	list := make([][]byte, len(docs))
	for i := range docs {
		if err := results.QueryRow().Scan(&list[i]); err != nil {
			tb.Fatalf("%.200s: %v", docs[i], err)
		}
	}
	return list
}

// newServer is a connection with a function that returns the text of a jsonb, or NULL.
func newServer(tb testing.TB) *pgx.Conn {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), pgtest.New(tb))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close(tb.Context()) })
	_, err = conn.Exec(tb.Context(), `CREATE FUNCTION pg_temp.stored(doc text) RETURNS text LANGUAGE plpgsql AS $$
		BEGIN RETURN doc::jsonb::text; EXCEPTION WHEN OTHERS THEN RETURN NULL; END $$`)
	if err != nil {
		tb.Fatal(err)
	}
	return conn
}

var adversarial = []string{
	`{}`, `[]`, `null`, `""`, `0`, `-0`, `-0.0`, `0.000`, `1.50`, `15e-1`, `1e400`, `-1e400`, `1e-400`, `1E+2`, `123456789012345678901`, `1234567890123456789012`,
	`0.000000000000000000001`, `0.0000000000000000000001`, `0.00000000000000000000012`, `100000000000000000000.5`, `1e21`, `1e20`, `1e16000`, `1e16001`, `1e-16000`,
	`99999999999999999999999.10`, `"|"`, `"<null>"`, `{"a|b":"<null>"}`, `{"bb":1,"a":2,"":3,"aaa":4}`, `{"é":1,"e\u0301":2,"e":3}`,
	`{"a":{"zz":1,"y":[{"bb":1,"a":[]},{}]},"A":null}`, `{"\"":1,"\\":2,"!":3,"#":4,"\n":5,"\u0001":6," ":7}`, `{"a\"":1,"a!":2,"a":3}`,
	`"\u0000"`, `"\ud83d\ude00"`, `"\u001f\u007f\u0080\/"`, `"\b\f\n\r\t"`, `"a\\\\\""`, `["\\",{"\\":"\\\""}]`, `{"a":1,"a":2,"a":1.0}`,
	strings.Repeat(`[`, 60) + `1.0` + strings.Repeat(`]`, 60), strings.Repeat(`{"bb":0,"a":`, 60) + `{}` + strings.Repeat(`}`, 60),
}

func check(tb testing.TB, docs []string, stored [][]byte) (compared int) {
	tb.Helper()
	var c canonical
	for i, doc := range docs {
		if stored[i] == nil {
			continue
		}
		want, err := record.CanonicalJSON([]byte(doc))
		got := c.append(nil, stored[i])
		if errors.Is(err, record.ErrJSONNumber) || errors.Is(err, record.ErrJSONDepth) {
			continue
		}
		if err != nil {
			tb.Fatalf("%s: %v", doc, err)
		}
		compared++
		if !bytes.Equal(got, want) {
			tb.Errorf("document %.300s\nPostgreSQL has %.300s\nmade canonical %.300s\nwant          %.300s", doc, stored[i], got, want)
		}
		if again := c.append(nil, want); !bytes.Equal(again, want) {
			tb.Errorf("canonical %.300s became %.300s", want, again)
		}
	}
	return compared
}

func TestTheServersJSONBecomesCanonical(t *testing.T) {
	conn := newServer(t)
	if n := check(t, adversarial, jsonbs(t, conn, adversarial)); n < len(adversarial)-5 {
		t.Errorf("only %d of %d documents were compared", n, len(adversarial))
	}
	rng := rand.New(rand.NewPCG(1, 2))
	docs := make([]string, 3000)
	for i := range docs {
		docs[i] = randomDocument(rng, 0)
	}
	if n := check(t, docs, jsonbs(t, conn, docs)); n < 2500 {
		t.Errorf("only %d of %d documents were compared", n, len(docs))
	}
}

var pieces = []string{"a", "b", "A", "é", "e\u0301", "😀", `"`, `\`, "/", "\n", "\t", "\x01", "\x1f", "\x7f", "\u2028", " ", "|", "<null>", "0", "_", "\ufffd", "\u0080", "zzzz"}

func randomText(r *rand.Rand) string {
	var b strings.Builder
	for range r.IntN(4) {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	return b.String()
}

func randomNumber(r *rand.Rand) string {
	digits := func(n int) string {
		s := ""
		for range n {
			s += fmt.Sprint(r.IntN(10) * r.IntN(2))
		}
		return s
	}
	s := []string{"", "-"}[r.IntN(2)] + []string{"0", fmt.Sprint(1+r.IntN(9)) + digits(r.IntN(25))}[r.IntN(2)]
	if r.IntN(2) == 0 {
		s += "." + digits(1+r.IntN(25))
	}
	if r.IntN(4) == 0 {
		s += fmt.Sprintf("e%d", r.IntN(60)-30)
	}
	return s
}

func randomDocument(r *rand.Rand, depth int) string {
	space := []string{"", " ", "\n\t"}[r.IntN(3)]
	switch n := r.IntN(8); {
	case n < 2 && depth < 6:
		var list []string
		for range r.IntN(40) / (1 + 8*r.IntN(2)) {
			key, _ := json.Marshal(randomText(r))
			list = append(list, string(key)+space+":"+randomDocument(r, depth+2))
		}
		return "{" + space + strings.Join(list, ","+space) + "}"
	case n < 4 && depth < 6:
		var list []string
		for range r.IntN(5) {
			list = append(list, randomDocument(r, depth+1))
		}
		return "[" + strings.Join(list, space+",") + space + "]"
	case n < 6:
		text, _ := json.Marshal(randomText(r))
		return string(text)
	case n < 7:
		return randomNumber(r)
	}
	return []string{"true", "false", "null"}[r.IntN(3)]
}

func TestNumbersHaveTheFormOfTheRecord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`-?(0|[1-9][0-9]{0,24}|[1-9]0{0,24})(\.[0-9]{1,26}|\.0{1,24}[1-9]?0{0,3})?`).Draw(t, "number")
		want, err := record.AppendNumber(nil, s)
		if err != nil {
			return // out of range
		}
		if got := appendNumber(nil, []byte(s)); !bytes.Equal(got, want) {
			t.Errorf("%s became %s, want %s", s, got, want)
		}
	})
}

func FuzzCanonicalNeverFailsAndLeavesTheCanonicalAlone(f *testing.F) {
	for _, doc := range adversarial {
		f.Add(doc)
	}
	f.Fuzz(func(t *testing.T, doc string) {
		var c canonical
		c.append(nil, []byte(doc)) // must end, whatever it is given
		if !json.Valid([]byte(doc)) {
			return
		}
		want, err := record.CanonicalJSON([]byte(doc))
		if err != nil {
			return
		}
		if got := c.append(nil, want); !bytes.Equal(got, want) {
			t.Errorf("canonical %s became %s", want, got)
		}
	})
}

func TestCanonicalTakesNoMemoryOfItsOwn(t *testing.T) {
	doc := []byte(`{"at": "2024-01-01T00:00:00Z", "id": "1", "html": null, "kind": "comment", "text": "a \"b\"", "speaker": "user", "n": 1.50, "attachments": [{"url": "u", "name": null}]}`)
	var c canonical
	dst := c.append(nil, doc)
	if n := testing.AllocsPerRun(100, func() { dst = c.append(dst[:0], doc) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCanonical(b *testing.B) {
	doc := []byte(`[` + strings.Repeat(`{"at": "2024-01-01T00:00:00Z", "id": "123456", "html": "<p>Hello, I have a question about my invoice</p>", "kind": "comment", "text": "Hello, I have a question about my invoice", "speaker": "user", "author_id": "5f3a9c", "attachments": [], "author_name": "Ann"}, `, 9) + `{}]`)
	var c canonical
	var dst []byte
	b.SetBytes(int64(len(doc)))
	for b.Loop() {
		dst = c.append(dst[:0], doc)
	}
}
