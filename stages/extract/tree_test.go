package extract

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline/record"
)

// reading turns a tree into what json.Unmarshal with UseNumber makes of the document, cleaned.
func reading(v value) any {
	switch v.kind() {
	case boolean:
		return string(v.raw()) == "true"
	case number:
		return json.Number(v.raw())
	case text:
		return v.text()
	case list:
		l := []any{}
		for it := v.each(); it.next(); {
			l = append(l, reading(it.value))
		}
		return l
	case object:
		m := map[string]any{}
		for it := v.each(); it.next(); {
			m[string(it.key())] = reading(it.value)
		}
		return m
	}
	return nil
}

// standard is the oracle: encoding/json's reading, texts cleaned. Keys that cleaning makes equal are
// not comparable.
func standard(doc []byte) (v any, comparable bool, err error) {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, false, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, false, errors.New("more than one value")
	}
	comparable = true
	var clean func(v any) any
	clean = func(v any) any {
		switch v := v.(type) {
		case string:
			return record.CleanText(v)
		case []any:
			for i := range v {
				v[i] = clean(v[i])
			}
		case map[string]any:
			m := map[string]any{}
			for k, e := range v {
				c := record.CleanText(k)
				comparable = comparable && c == k
				m[c] = clean(e)
			}
			return m
		}
		return v
	}
	return clean(v), comparable, nil
}

func TestTheTreeReadsAsEncodingJSONDoes(t *testing.T) {
	for _, doc := range []string{
		`{}`, `[]`, ` null `, `"a"`, `-0.5e+10`, `{"a":{"b":[1,2,{"c":null}]},"d":"\u00e9\ud83d\ude00\ud83d\u0000\n"}`,
		`{"a":1,"a":2}`, "\"\xff\xc3\"", `{"\u0061":1,"é":2}`, "[1,\t2 ,\r\n3]", `"\ud800\ud800\udc00"`, `"\\u0000"`, `[true,false]`,
		``, `{`, `[1,]`, `{"a"}`, `{"a":}`, `{,}`, `01`, `1.`, `.5`, `-`, `1e`, `+1`, `nul`, `truefalse`, `"a`, "\"\x01\"", `"\x"`, `"\u12g4"`, `[1 2]`, `{"a":1 "b":2}`, `1 2`, `{'a':1}`, "\ufeff{}", `[`, `]`, `"\`, `{"a":1,}`,
	} {
		check(t, []byte(doc))
	}
}

func check(t *testing.T, doc []byte) {
	t.Helper()
	var tr tree
	v, err := tr.parse(doc)
	if valid := json.Valid(doc); (err == nil) != valid {
		if depth(doc) <= maxDepth {
			t.Fatalf("%q: error %v, but encoding/json says valid %t", doc, err, valid)
		}
		return
	}
	if err != nil || depth(doc) > maxDepth {
		return
	}
	want, comparable, err := standard(doc)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, reading(v)); diff != "" && comparable {
		t.Fatalf("%q:\n%s", doc, diff)
	}
}

// depth is the most brackets that are open anywhere, those in texts counted, too.
func depth(doc []byte) (most int) {
	open := 0
	for _, c := range doc {
		switch c {
		case '{', '[':
			open++
		case '}', ']':
			open--
		}
		most = max(most, open)
	}
	return most
}

func FuzzTree(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5e-3,"x\ud83d\ude00",null,true,{}]}`, `"\u0000"`, "\"\xed\xa0\x80\"", `[[[[]]]]`, `{"a":1,"a":[]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) { check(t, doc) })
}

func TestDeepDocumentsAreNotTakenApartAndNotRefused(t *testing.T) {
	nested := func(n int) string { return strings.Repeat(`{"a":[`, n) + `"]}"` + strings.Repeat(`]}`, n) }
	for _, n := range []int{100, 5_000, 500_000} {
		var tr tree
		v, err := tr.parse([]byte(`{"deep":` + nested(n) + `,"flat":1}`))
		if err != nil {
			t.Fatalf("%d levels: %v", 2*n, err)
		}
		if string(v.get("flat").raw()) != "1" {
			t.Errorf("%d levels: what follows is lost", 2*n)
		}
		if got := string(v.get("deep").document()); got != nested(n) {
			t.Errorf("%d levels: the text is not kept", 2*n)
		}
		if len(tr.nodes) > 300 {
			t.Errorf("%d levels: %d nodes", 2*n, len(tr.nodes))
		}
	}
	for _, bad := range []string{strings.Repeat("[", 1000), strings.Repeat("[", 1000) + "}" + strings.Repeat("]", 999), strings.Repeat("[", 1000) + `"` + strings.Repeat("]", 1000)} {
		var tr tree
		if _, err := tr.parse([]byte(bad)); err == nil {
			t.Errorf("%.20q… passed", bad)
		}
	}
}
