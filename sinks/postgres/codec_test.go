package postgres

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"haloingest/pipeline/record"
)

// PostgreSQL is the oracle: what it reads from the binary form is compared with the values as pgx reads them back.
func TestEveryValueArrivesAsItWasEncoded(t *testing.T) {
	db := newDB(t)
	conn, err := db.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), `CREATE TEMP TABLE v (n integer, u uuid, nu uuid, tx text, nt text, ts timestamptz, i4 integer, ni integer, i2 smallint, b boolean, d bytea, nd bytea, j jsonb, l text[])`); err != nil {
		t.Fatal(err)
	}
	cols := []string{"n", "u", "nu", "tx", "nt", "ts", "i4", "ni", "i2", "b", "d", "nd", "j", "l"}
	type row struct {
		U, NU  record.UUID
		TX, NT string
		TS     time.Time
		I4, NI int
		I2     int16
		B      bool
		D, ND  record.Digest
		J      string
		L      []string
	}
	var buf copyBuffer
	fewer(t, "100")
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.Custom(func(t *rapid.T) string { return record.CleanText(rapid.String().Draw(t, "text")) })
		id := rapid.Custom(func(t *rapid.T) (u record.UUID) {
			copy(u[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
			return u
		})
		rows := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) row {
			r := row{U: id.Draw(t, "u"), TX: text.Draw(t, "tx"), NT: text.Draw(t, "nt"), I4: int(rapid.Int32().Draw(t, "i4")), NI: int(rapid.Int32().Draw(t, "ni")),
				I2: rapid.Int16().Draw(t, "i2"), B: rapid.Bool().Draw(t, "b"), D: record.Digest(id.Draw(t, "d")), L: rapid.SliceOf(text).Draw(t, "l")}
			if rapid.Bool().Draw(t, "null") {
				r.NU, r.ND = id.Draw(t, "nu"), record.Digest(id.Draw(t, "nd"))
			}
			if rapid.Bool().Draw(t, "time") {
				// From the year 1 on, because Go and PostgreSQL count the years before differently.
				r.TS = time.UnixMicro(rapid.Int64Range(-62_135_596_800_000_000+1, 9_214_646_400_000_000).Draw(t, "µs")).UTC()
			}
			if rapid.Bool().Draw(t, "json") {
				r.J = string(record.AppendString(nil, text.Draw(t, "j")))
			}
			return r
		}), 0, 20).Draw(t, "rows")
		buf.reset(cols)
		for i, r := range rows {
			buf.row()
			buf.int4(i)
			buf.uuid(r.U)
			buf.nullUUID(r.NU)
			buf.text(r.TX)
			buf.nullText(r.NT)
			buf.time(r.TS)
			buf.int4(r.I4)
			buf.nullInt4(r.NI)
			buf.int2(r.I2)
			buf.bool(r.B)
			buf.digest(r.D)
			buf.nullDigest(r.ND)
			buf.jsonb([]byte(r.J), "{}")
			buf.texts(r.L)
		}
		data, err := buf.finish()
		if err != nil {
			t.Fatal(err)
		}
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback(t.Context())
		if _, err := conn.PgConn().CopyFrom(t.Context(), data, "COPY v FROM STDIN (FORMAT binary)"); err != nil {
			t.Fatal(err)
		}
		back, err := tx.Query(t.Context(), `SELECT u, coalesce(nu, '00000000-0000-0000-0000-000000000000'), tx, coalesce(nt, ''), ts, i4, coalesce(ni, 0), i2, b, d,
			coalesce(nd, '\x00000000000000000000000000000000'), j::text, l FROM v ORDER BY n`)
		if err != nil {
			t.Fatal(err)
		}
		got, err := pgx.CollectRows(back, func(c pgx.CollectableRow) (r row, err error) {
			var d, nd []byte
			var ts *time.Time
			err = c.Scan((*[16]byte)(&r.U), (*[16]byte)(&r.NU), &r.TX, &r.NT, &ts, &r.I4, &r.NI, &r.I2, &r.B, &d, &nd, &r.J, &r.L)
			r.D, r.ND, r.TS = record.Digest(d), record.Digest(nd), orZero(ts)
			return r, err
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := range rows {
			if rows[i].J == "" {
				rows[i].J = "{}"
			}
			var a, b any
			if json.Unmarshal([]byte(rows[i].J), &a) != nil || json.Unmarshal([]byte(got[i].J), &b) != nil || !cmp.Equal(a, b) {
				t.Fatalf("jsonb %s came back as %s", rows[i].J, got[i].J)
			}
			rows[i].J, got[i].J = "", ""
			if len(rows[i].L) == 0 {
				rows[i].L, got[i].L = nil, nil
			}
		}
		if diff := cmp.Diff(rows, got); diff != "" && len(rows) > 0 {
			t.Fatalf("rows (-sent +read):\n%s", diff)
		}
	})
}

func TestWhatDoesNotFitAColumnIsSaidAndNotSent(t *testing.T) {
	tests := []struct {
		name  string
		write func(c *copyBuffer)
		want  string
	}{
		{"an integer beyond 32 bits", func(c *copyBuffer) { c.row(); c.int4(math.MaxInt32 + 1); c.null() }, "column a: 2147483648 is out of range"},
		{"a year that a timestamptz has not", func(c *copyBuffer) { c.row(); c.null(); c.time(time.Date(300_000, 1, 1, 0, 0, 0, 0, time.UTC)) }, "column b: the year 300000 is out of range"},
		{"a row with a column too few", func(c *copyBuffer) { c.row(); c.null(); c.row(); c.null(); c.null() }, "column b: a row of 2 columns has 1"},
		{"a last row with a column too few", func(c *copyBuffer) { c.row(); c.null() }, "column b: a row of 2 columns has 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var c copyBuffer
			c.reset([]string{"a", "b"})
			tt.write(&c)
			_, err := c.finish()
			var bad *encodeError
			if !errors.As(err, &bad) || err.Error() != tt.want {
				t.Errorf("error %v, want %s", err, tt.want)
			}
			c.reset([]string{"a", "b"})
			if _, err := c.finish(); err != nil {
				t.Errorf("the error stays after a reset: %v", err)
			}
		})
	}
}

func TestABufferOfAnUnusualBatchIsGivenBack(t *testing.T) {
	var c copyBuffer
	c.reset([]string{"a"})
	c.row()
	c.text(strings.Repeat("x", 64<<20))
	c.reset([]string{"a"})
	if n := cap(c.b); n > 1<<20 {
		t.Errorf("%d bytes are kept", n)
	}
}
