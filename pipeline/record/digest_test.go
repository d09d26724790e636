package record

import (
	"bytes"
	"encoding/binary"
	"math"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// field is one call of an Encoder, and what its encoding must say.
type field struct {
	what  string
	value any
}

func drawField(t *rapid.T) field {
	switch rapid.IntRange(0, 8).Draw(t, "what") {
	case 0:
		return field{"null", nil}
	case 1:
		return field{"text", rapid.String().Draw(t, "text")}
	case 2:
		return field{"time", time.UnixMicro(rapid.Int64Range(-1<<50, 1<<50).Draw(t, "time")).UTC()}
	case 3:
		return field{"int", rapid.Int64().Draw(t, "int")}
	case 4:
		return field{"bool", rapid.Bool().Draw(t, "bool")}
	case 5:
		return field{"json", rapid.SampledFrom([]string{"{}", "[]", `"a"`, "1", "null"}).Draw(t, "json")}
	case 6:
		return field{"bytes", string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))}
	case 7:
		return field{"texts", rapid.SliceOfN(rapid.String(), 0, 4).Draw(t, "texts")}
	}
	return field{"float", math.Float64bits(rapid.Float64().Draw(t, "float") + 0)} // + 0 makes -0 0
}

func (f field) encode(e *Encoder) {
	switch f.what {
	case "null":
		e.Null()
	case "text":
		e.Text(f.value.(string))
	case "time":
		e.Time(f.value.(time.Time))
	case "int":
		e.Int(f.value.(int64))
	case "bool":
		e.Bool(f.value.(bool))
	case "json":
		e.JSON([]byte(f.value.(string)))
	case "bytes":
		e.Bytes([]byte(f.value.(string)))
	case "texts":
		e.Texts(f.value.([]string))
	case "float":
		e.Float(math.Float64frombits(f.value.(uint64)))
	}
}

// decode reads an encoding back, independently of the Encoder. That it can is why no two rows share
// an encoding.
func decode(t *rapid.T, b []byte) (fields []field) {
	take := func(n int) []byte {
		if n > len(b) {
			t.Fatalf("encoding ends too early")
		}
		head := b[:n]
		b = b[n:]
		return head
	}
	length := func() int {
		n, size := binary.Uvarint(b)
		if size <= 0 {
			t.Fatalf("no length")
		}
		take(size)
		return int(n)
	}
	var one func() field
	one = func() field {
		switch tag := take(1)[0]; tag {
		case tagNull:
			return field{"null", nil}
		case tagText:
			return field{"text", string(take(length()))}
		case tagTime:
			return field{"time", time.UnixMicro(int64(binary.BigEndian.Uint64(take(8)))).UTC()}
		case tagInt:
			return field{"int", int64(binary.BigEndian.Uint64(take(8)))}
		case tagBool:
			return field{"bool", take(1)[0] == 1}
		case tagJSON:
			return field{"json", string(take(length()))}
		case tagBytes:
			return field{"bytes", string(take(length()))}
		case tagList:
			list := make([]string, length())
			for i := range list {
				list[i] = one().value.(string)
			}
			return field{"texts", list}
		case tagFloat:
			return field{"float", binary.BigEndian.Uint64(take(8))}
		default:
			t.Fatalf("unknown tag %d", tag)
			return field{}
		}
	}
	for len(b) > 0 {
		fields = append(fields, one())
	}
	return fields
}

func TestAnEncodingCanBeReadBackSoNoTwoRowsShareOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := []field{{"text", "table"}}
		var e Encoder
		e.Reset("table")
		for range rapid.IntRange(0, 12).Draw(t, "fields") {
			f := drawField(t)
			f.encode(&e)
			if f.what == "texts" && f.value.([]string) == nil {
				f.value = []string{}
			}
			want = append(want, f)
		}
		if e.buf[0] != DigestVersion {
			t.Fatalf("the encoding begins with %d, not with its version", e.buf[0])
		}
		if got := decode(t, e.buf[1:]); !reflect.DeepEqual(got, want) {
			t.Fatalf("got %#v\nwant %#v", got, want)
		}
	})
}

func TestWhatIsAbsentDiffersFromWhatIsEmpty(t *testing.T) {
	digest := func(f func(e *Encoder)) Digest {
		var e Encoder
		e.Reset("t")
		f(&e)
		return e.Sum()
	}
	seen := map[Digest]string{}
	for name, f := range map[string]func(e *Encoder){
		"no field":       func(*Encoder) {},
		"NULL":           func(e *Encoder) { e.Null() },
		"empty text":     func(e *Encoder) { e.Text("") },
		"zero":           func(e *Encoder) { e.Int(0) },
		"false":          func(e *Encoder) { e.Bool(false) },
		"empty bytes":    func(e *Encoder) { e.Bytes([]byte{}) },
		"no texts":       func(e *Encoder) { e.Texts(nil) },
		"one empty text": func(e *Encoder) { e.Texts([]string{""}) },
		"two texts":      func(e *Encoder) { e.Texts([]string{"a", "b"}) },
		"two fields":     func(e *Encoder) { e.Text("a"); e.Text("b") },
		"one text":       func(e *Encoder) { e.Text("ab") },
		"a text {}":      func(e *Encoder) { e.Text("{}") },
		"JSON {}":        func(e *Encoder) { e.JSON([]byte("{}")) },
		"0.0":            func(e *Encoder) { e.Float(0) },
		"the epoch":      func(e *Encoder) { e.Time(time.Unix(0, 0)) },
	} {
		d := digest(f)
		if other, twice := seen[d]; twice {
			t.Errorf("%s and %s have one digest", name, other)
		}
		seen[d] = name
	}
	same := func(name string, a, b func(e *Encoder)) {
		if digest(a) != digest(b) {
			t.Errorf("%s have different digests", name)
		}
	}
	same("0 and -0", func(e *Encoder) { e.Float(0) }, func(e *Encoder) { e.Float(math.Copysign(0, -1)) })
	same("two NaNs", func(e *Encoder) { e.Float(math.NaN()) }, func(e *Encoder) { e.Float(math.Float64frombits(0x7ff8000000000002)) })
	same("the zero time and NULL", func(e *Encoder) { e.Time(time.Time{}) }, (*Encoder).Null)
	same("no JSON and NULL", func(e *Encoder) { e.JSON(nil) }, (*Encoder).Null)
	same("one instant in two zones", func(e *Encoder) { e.Time(time.Unix(1, 0).UTC()) }, func(e *Encoder) { e.Time(time.Unix(1, 0).In(time.FixedZone("x", 3600))) })
}

func TestAnEncoderThatIsResetForgets(t *testing.T) {
	var e, fresh Encoder
	e.Reset("a")
	e.Text("something long that stays in the buffer")
	e.Reset("b")
	e.Int(1)
	fresh.Reset("b")
	fresh.Int(1)
	if !bytes.Equal(e.buf, fresh.buf) {
		t.Error("the encodings differ")
	}
}
