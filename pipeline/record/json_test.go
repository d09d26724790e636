package record

import (
	"encoding/json"
	"errors"
	"math/big"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestCanonicalJSON(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"white space goes", " { \"a\" : [ 1 , 2 ] }\n", `{"a":[1,2]}`},
		{"keys are sorted by their bytes", `{"b":1,"a":2,"B":3,"é":4,"aa":5}`, `{"B":3,"a":2,"aa":5,"b":1,"é":4}`},
		{"the last of doubled keys stays", `{"a":1,"a":{"x":1},"a":3}`, `{"a":3}`},
		{"the last of keys that are doubled inside counts, not their union", `{"o":{"a":1},"o":{"b":2}}`, `{"o":{"b":2}}`},
		{"keys that cleaning makes equal become one", `{"a\u0000":2,"a":1}`, `{"a":2}`},
		{"an empty key is a key", `{"":1}`, `{"":1}`},
		{"trailing zeros are no value", `[1.50,1.0,100,1e2,0.10]`, `[1.5,1,100,100,0.1]`},
		{"an exponent is another way of writing", `[15e-1,1E+3,0.0015e3,-2.5e1]`, `[1.5,1000,1.5,-25]`},
		{"all zeros are one", `[0,-0,0.000,0e99999999999,-0.0e-5]`, `[0,0,0,0,0]`},
		{"long integers stay exact", `12345678901234567890123`, `1.2345678901234567890123e22`},
		{"integers of 21 digits are plain", `123456789012345678901`, `123456789012345678901`},
		{"small numbers are plain up to 21 zeros", `[1e-22,1e-23]`, `[0.0000000000000000000001,1e-23]`},
		{"strings have the fewest escapes", `"\u0041\/\u00e9\u2028\"\\\b\f\n\r\t\u001f<>&"`, `"A/é` + "\u2028" + `\"\\\b\f\n\r\t\u001f<>&"`},
		{"NUL is left out", `"a\u0000b"`, `"ab"`},
		{"surrogates in pairs are one character", `"\ud83d\ude00"`, `"😀"`},
		{"half a surrogate pair becomes U+FFFD", `"\ud83d-\ude00"`, `"` + "\uFFFD-\uFFFD" + `"`},
		{"bytes that are no UTF-8 become U+FFFD", "\"a\xffb\"", `"a` + "\uFFFD" + `b"`},
		{"texts and literals pass", `["",null,true,false,{},[]]`, `["",null,true,false,{},[]]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := CanonicalJSON([]byte(c.in))
			if err != nil || string(got) != c.want {
				t.Errorf("got %s, %v\nwant %s", got, err, c.want)
			}
		})
	}
}

func TestCanonicalJSONRefusesWhatJsonbCannotHold(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, c := range []struct {
		name, in string
		want     error // nil: any
	}{
		{"nothing", "", nil},
		{"two values", "1 2", nil},
		{"half a value", `{"a":`, nil},
		{"a number beyond numeric's range", "1e16001", ErrJSONNumber},
		{"a number too close to zero for numeric", "1e-16001", ErrJSONNumber},
		{"more digits behind the point than numeric has", "1." + strings.Repeat("1", 16_001), ErrJSONNumber},
		{"many digits far behind the point", "1." + strings.Repeat("9", 15_999) + "e-9000", ErrJSONNumber},
		{"an exponent that no integer holds", "-1e99999999999999999999", ErrJSONNumber},
		{"a document nested too deep", deep(MaxJSONDepth + 2), ErrJSONDepth},
		{"a document nested deeper than a decoder goes", deep(20_000), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := CanonicalJSON([]byte(c.in))
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("got %.40q and error %v, want error %v", got, err, c.want)
			}
		})
	}
	if _, err := CanonicalJSON([]byte(deep(MaxJSONDepth))); err != nil {
		t.Errorf("%d levels: %v", MaxJSONDepth, err)
	}
}

func TestANumberThatIsRefusedLeavesTheBufferAlone(t *testing.T) {
	got, err := AppendNumber([]byte("x"), "1e999999")
	if string(got) != "x" || !errors.Is(err, ErrJSONNumber) {
		t.Errorf("got %q, %v", got, err)
	}
}

// drawNumber draws any way of writing a number that JSON allows.
func drawNumber(t *rapid.T) string {
	return rapid.StringMatching(`-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?`).Draw(t, "number")
}

func TestNumbersKeepTheirValueAndHaveOneForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawNumber(t)
		got, err := AppendNumber(nil, in)
		if err != nil {
			t.Fatal(err)
		}
		want, _ := new(big.Rat).SetString(in)
		have, ok := new(big.Rat).SetString(string(got))
		if !ok || want.Cmp(have) != 0 {
			t.Fatalf("%s became %s", in, got)
		}
		if again, _ := AppendNumber(nil, string(got)); string(again) != string(got) {
			t.Fatalf("%s became %s, then %s", in, got, again)
		}
		// Another spelling of the same value: one more zero in the fraction, moved by the exponent.
		other, err := AppendNumber(nil, respell(in))
		if err != nil || string(other) != string(got) {
			t.Fatalf("%s became %s, but %s became %s, %v", in, got, respell(in), other, err)
		}
	})
}

// respell writes the same number differently.
func respell(s string) string {
	i := strings.IndexAny(s, "eE")
	if i < 0 {
		i = len(s)
	}
	mantissa, exponent := s[:i], s[i:]
	if !strings.Contains(mantissa, ".") {
		mantissa += "."
	}
	return mantissa + "00" + exponent
}

func TestAppendStringIsReadBackByEncodingJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "text")
		var got string
		doc := AppendString(nil, s)
		if err := json.Unmarshal(doc, &got); err != nil {
			t.Fatalf("%q became %s: %v", s, doc, err)
		}
		if want := strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", ""); got != want {
			t.Fatalf("%q became %s, which reads %q, want %q", s, doc, got, want)
		}
	})
}

func TestAppendObjectIsCanonical(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fields := rapid.MapOf(rapid.String(), rapid.SampledFrom([]json.RawMessage{[]byte("1"), []byte(`"x"`), []byte("{}")})).Draw(t, "fields")
		for k := range fields {
			if CleanText(k) != k {
				delete(fields, k)
			}
		}
		got := AppendObject(nil, fields)
		want, err := CanonicalJSON(got)
		if err != nil || string(got) != string(want) {
			t.Fatalf("got %s, canonical is %s, %v", got, want, err)
		}
	})
}

// FuzzCanonicalJSON holds the canonical form to encoding/json's reading of both sides.
func FuzzCanonicalJSON(f *testing.F) {
	for _, s := range []string{`{"b":1.50,"a":["x\u0000",null]}`, `"\ud83d"`, `-0.0e5`, `{"a":1,"a":2}`, `[[[]]]`, `1e-16000`, "\"\xc3\x28\""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := CanonicalJSON(raw)
		if err != nil {
			if json.Valid(raw) && !errors.Is(err, ErrJSONDepth) && !errors.Is(err, ErrJSONNumber) {
				t.Fatalf("refused %q: %v", raw, err)
			}
			return
		}
		if !json.Valid(raw) {
			t.Fatalf("accepted %q", raw)
		}
		if !json.Valid(got) || !utf8.Valid(got) || strings.Contains(string(got), `\u0000`) && !strings.Contains(string(got), `\\u0000`) {
			t.Fatalf("%q became %q", raw, got)
		}
		again, err := CanonicalJSON(got)
		if err != nil || string(again) != string(got) {
			t.Fatalf("%q became %q, then %q, %v", raw, got, again, err)
		}
		if diff := cmp.Diff(reading(t, raw), reading(t, got)); diff != "" {
			t.Fatalf("%q became %q, which reads differently:\n%s", raw, got, diff)
		}
	})
}

// reading is what a document means: numbers as exact fractions, texts clean.
func reading(t *testing.T, doc []byte) any {
	d := json.NewDecoder(strings.NewReader(string(doc)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	var mean func(v any) any
	mean = func(v any) any {
		switch v := v.(type) {
		case string:
			return CleanText(v)
		case json.Number:
			if i := strings.IndexAny(string(v), "eE"); i >= 0 && !small(string(v[i+1:])) {
				if strings.Trim(string(v[:i]), "-0.") == "" {
					return "0"
				}
				return "a number" // too slow to compare here; the property test above does
			}
			r, _ := new(big.Rat).SetString(string(v))
			if s := r.RatString(); len(s) < 20 {
				return s
			}
			return "a number"
		case []any:
			for i := range v {
				v[i] = mean(v[i])
			}
		case map[string]any:
			clean := make(map[string]any)
			for k, e := range v {
				if CleanText(k) != k {
					return "an object with unclean keys"
				}
				clean[k] = mean(e)
			}
			return clean
		}
		return v
	}
	return mean(v)
}

func small(exponent string) bool {
	n, err := strconv.Atoi(exponent)
	return err == nil && -2000 < n && n < 2000
}
