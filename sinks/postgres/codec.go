package postgres

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"haloingest/pipeline/record"
)

// copySignature opens a binary COPY: the magic bytes, flags and the length of an empty header extension (PostgreSQL manual,
// COPY, "Binary Format").
const copySignature = "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// maxField is the most that one field may have: PostgreSQL's own limit of 1 GB less room for the row around it.
const maxField = 1<<30 - 1<<16

// pgEpoch is 2000-01-01 in microseconds since 1970, from where PostgreSQL counts.
const pgEpoch = 946_684_800_000_000

// Years that a timestamptz can hold and that do not overflow int64 microseconds on the way.
const (
	minYear = -4700
	maxYear = 294_000
)

// encodeError says that a value cannot be written in PostgreSQL's format. It makes its row poison.
type encodeError struct {
	Column string
	Reason string
}

func (e *encodeError) Error() string { return fmt.Sprintf("column %s: %s", e.Column, e.Reason) }

// copyBuffer builds the stream of one binary COPY in memory that is reused: the whole of it is there before the COPY begins,
// so that a slow source never holds a transaction open. Not safe for concurrent use.
//
// A row is begun by row, followed by exactly one call per column. The first error sticks; see err.
type copyBuffer struct {
	b      []byte
	rows   int
	cols   []string // names of the columns, for errors
	at     int      // columns written in the present row
	failed error
	reader bytes.Reader
}

// reset starts the COPY of the columns. Memory of an unusually large batch is given back.
func (c *copyBuffer) reset(cols []string) {
	const keep = 32 << 20
	if cap(c.b) > keep {
		c.b = nil
	}
	c.b = append(c.b[:0], copySignature...)
	c.rows, c.cols, c.at, c.failed = 0, cols, len(cols), nil
}

func (c *copyBuffer) row() {
	if c.at != len(c.cols) {
		c.fail(fmt.Sprintf("a row of %d columns has %d", len(c.cols), c.at))
	}
	c.rows++
	c.at = 0
	c.b = binary.BigEndian.AppendUint16(c.b, uint16(len(c.cols)))
}

// finish ends the stream and returns a reader over it, valid until the next reset.
func (c *copyBuffer) finish() (*bytes.Reader, error) {
	if c.failed == nil && c.at != len(c.cols) {
		c.fail(fmt.Sprintf("a row of %d columns has %d", len(c.cols), c.at))
	}
	if c.failed != nil {
		return nil, c.failed
	}
	c.b = append(c.b, 0xff, 0xff)
	c.reader.Reset(c.b)
	return &c.reader, nil
}

func (c *copyBuffer) fail(reason string) {
	if c.failed != nil {
		return
	}
	e := &encodeError{Reason: reason}
	if c.at < len(c.cols) {
		e.Column = c.cols[c.at]
	}
	c.failed = e
}

func (c *copyBuffer) size(n int) {
	if n > maxField {
		c.fail(fmt.Sprintf("%d bytes are more than a field can hold", n))
		n = 0
	}
	c.b = binary.BigEndian.AppendUint32(c.b, uint32(n))
}

func (c *copyBuffer) null() {
	c.b = append(c.b, 0xff, 0xff, 0xff, 0xff)
	c.at++
}

// text writes s, also where it is empty.
func (c *copyBuffer) text(s string) {
	c.size(len(s))
	c.b = append(c.b, s...)
	c.at++
}

// nullText writes s, NULL where it is empty.
func (c *copyBuffer) nullText(s string) {
	if s == "" {
		c.null()
		return
	}
	c.text(s)
}

func (c *copyBuffer) uuid(u record.UUID) {
	c.size(len(u))
	c.b = append(c.b, u[:]...)
	c.at++
}

// nullUUID writes u, NULL where it is zero.
func (c *copyBuffer) nullUUID(u record.UUID) {
	if u.IsZero() {
		c.null()
		return
	}
	c.uuid(u)
}

// time writes a timestamptz, NULL where t is zero.
func (c *copyBuffer) time(t time.Time) {
	if t.IsZero() {
		c.null()
		return
	}
	if y := t.Year(); y < minYear || y > maxYear {
		c.fail(fmt.Sprintf("the year %d is out of range", y))
	}
	c.size(8)
	c.b = binary.BigEndian.AppendUint64(c.b, uint64(t.UnixMicro()-pgEpoch))
	c.at++
}

// int4 writes an integer.
func (c *copyBuffer) int4(n int) {
	if n < math.MinInt32 || n > math.MaxInt32 {
		c.fail(fmt.Sprintf("%d is out of range", n))
	}
	c.size(4)
	c.b = binary.BigEndian.AppendUint32(c.b, uint32(int32(n)))
	c.at++
}

func (c *copyBuffer) int8(n int64) {
	c.size(8)
	c.b = binary.BigEndian.AppendUint64(c.b, uint64(n))
	c.at++
}

func (c *copyBuffer) int2(n int16) {
	c.size(2)
	c.b = binary.BigEndian.AppendUint16(c.b, uint16(n))
	c.at++
}

// nullInt4 writes an integer, NULL where it is 0.
func (c *copyBuffer) nullInt4(n int) {
	if n == 0 {
		c.null()
		return
	}
	c.int4(n)
}

func (c *copyBuffer) bool(v bool) {
	c.size(1)
	if v {
		c.b = append(c.b, 1)
	} else {
		c.b = append(c.b, 0)
	}
	c.at++
}

func (c *copyBuffer) digest(d record.Digest) {
	c.size(len(d))
	c.b = append(c.b, d[:]...)
	c.at++
}

// nullDigest writes d, NULL where it is zero.
func (c *copyBuffer) nullDigest(d record.Digest) {
	if d == (record.Digest{}) {
		c.null()
		return
	}
	c.digest(d)
}

// jsonb writes a document as version 1 of jsonb's external form, which is its text; empty stands for what def says.
func (c *copyBuffer) jsonb(doc []byte, def string) {
	if len(doc) == 0 {
		c.size(len(def) + 1)
		c.b = append(append(c.b, 1), def...)
	} else {
		c.size(len(doc) + 1)
		c.b = append(append(c.b, 1), doc...)
	}
	c.at++
}

// oidText is the type of the elements of a text[].
const oidText, oidUUID = 25, 2950

// texts writes a text[].
func (c *copyBuffer) texts(list []string) {
	start := len(c.b)
	c.b = append(c.b, 0, 0, 0, 0)
	c.b = appendTexts(c.b, list)
	n := len(c.b) - start - 4
	if n > maxField {
		c.fail(fmt.Sprintf("%d bytes are more than a field can hold", n))
		n = 0
	}
	binary.BigEndian.PutUint32(c.b[start:], uint32(n))
	c.at++
}

// appendTexts appends the binary form of a text[]; see PostgreSQL's array_send.
func appendTexts(b []byte, list []string) []byte {
	b = appendArrayHead(b, len(list), oidText)
	for _, s := range list {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	return b
}

// appendArrayHead appends dimensions, null flag, element type, length and lower bound of an array of n elements.
func appendArrayHead(b []byte, n int, element uint32) []byte {
	if n == 0 {
		b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
		return binary.BigEndian.AppendUint32(b, element)
	}
	b = append(b, 0, 0, 0, 1, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, element)
	b = binary.BigEndian.AppendUint32(b, uint32(n))
	return append(b, 0, 0, 0, 1)
}

// decodeTime reads a binary timestamptz. Infinities come out as the ends of what a time.Time here can be compared with.
func decodeTime(b []byte) (time.Time, error) {
	if len(b) != 8 {
		return time.Time{}, fmt.Errorf("a timestamptz has 8 bytes, not %d", len(b))
	}
	n := int64(binary.BigEndian.Uint64(b))
	switch n {
	case math.MinInt64:
		return time.Time{}, nil
	case math.MaxInt64:
		return time.Date(maxYear, 1, 1, 0, 0, 0, 0, time.UTC), nil
	}
	return time.UnixMicro(n + pgEpoch).UTC(), nil
}
