package halo

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"

	"haloingest/pipeline/record"
	"haloingest/sinks/diff"
)

// pgEpoch is 2000-01-01 in microseconds since 1970, from where PostgreSQL counts.
const pgEpoch = 946_684_800_000_000

// micros reads a binary timestamptz; 0 for NULL and for the infinities.
func micros(raw []byte) int64 {
	if len(raw) != 8 {
		return 0
	}
	n := int64(binary.BigEndian.Uint64(raw))
	if n == math.MinInt64 || n == math.MaxInt64 {
		return 0
	}
	return n + pgEpoch
}

func integer(raw []byte) int64 {
	switch len(raw) {
	case 2:
		return int64(int16(binary.BigEndian.Uint16(raw)))
	case 4:
		return int64(int32(binary.BigEndian.Uint32(raw)))
	case 8:
		return int64(binary.BigEndian.Uint64(raw))
	}
	return 0
}

func truth(raw []byte) bool { return len(raw) == 1 && raw[0] != 0 }

// uuid reads a binary uuid; zero for NULL.
func uuid(raw []byte) (u record.UUID) {
	copy(u[:], raw)
	return u
}

// digest reads a bytea; zero for NULL and for what is no digest.
func digest(raw []byte) (d record.Digest) {
	if len(raw) == len(d) {
		copy(d[:], raw)
	}
	return d
}

// texts calls f with the elements of a binary text[]. ok is false if it is not a plain list of texts: of another dimension, or with a
// NULL in it.
func texts(raw []byte, begin func(n int), f func(s []byte)) (ok bool) {
	if len(raw) < 12 {
		return false
	}
	dimensions := binary.BigEndian.Uint32(raw)
	if dimensions == 0 {
		begin(0)
		return true
	}
	if dimensions != 1 || len(raw) < 20 {
		return false
	}
	n := int(binary.BigEndian.Uint32(raw[12:]))
	begin(n)
	raw = raw[20:]
	for range n {
		if len(raw) < 4 {
			return false
		}
		size := int(int32(binary.BigEndian.Uint32(raw)))
		if size < 0 || len(raw) < 4+size {
			return false
		}
		f(raw[4 : 4+size])
		raw = raw[4+size:]
	}
	return true
}

// cell is a field in the form in which it is compared.
func (c *canonical) cell(kind diff.ColumnKind, raw []byte) diff.Value {
	if raw == nil {
		return diff.Value{}
	}
	v := diff.Value{Valid: true}
	switch kind {
	case diff.TimeColumn:
		switch n := integer(raw); n {
		case math.MinInt64:
			v.Text = "-infinity"
		case math.MaxInt64:
			v.Text = "infinity"
		default:
			v.Text = strconv.FormatInt(n+pgEpoch, 10)
		}
	case diff.IntColumn:
		v.Text = strconv.FormatInt(integer(raw), 10)
	case diff.BoolColumn:
		v.Text = strconv.FormatBool(truth(raw))
	case diff.JSONColumn:
		v.Text = string(c.append(nil, document(raw)))
	case diff.ListColumn:
		list := []string{}
		if !texts(raw, func(int) {}, func(s []byte) { list = append(list, string(s)) }) {
			v.Text = fmt.Sprintf("no plain list: %x", raw)
			break
		}
		v = diff.Texts(list)
	case diff.UUIDColumn:
		v.Text = uuid(raw).String()
	case diff.HashColumn:
		v.Text = hex.EncodeToString(raw)
	default:
		v.Text = string(raw)
	}
	return v
}

// document is the text of a binary jsonb, which has a version before it.
func document(raw []byte) []byte {
	if len(raw) > 0 && raw[0] == 1 {
		return raw[1:]
	}
	return raw
}

// encode adds a field to a content hash, as the row's Seal does.
func (h *rowHasher) encode(kind diff.ColumnKind, raw []byte) {
	e := &h.encoder
	if raw == nil {
		e.Null()
		return
	}
	switch kind {
	case diff.TimeColumn:
		n := integer(raw)
		if n == math.MinInt64 || n == math.MaxInt64 {
			e.Int(n) // no time that an object can have
			return
		}
		e.Micros(n + pgEpoch)
	case diff.IntColumn:
		e.Int(integer(raw))
	case diff.BoolColumn:
		e.Bool(truth(raw))
	case diff.JSONColumn:
		h.document = h.canonical.append(h.document[:0], document(raw))
		e.JSON(h.document)
	case diff.ListColumn:
		if !texts(raw, e.List, e.TextBytes) {
			e.Null()
			e.Bytes(raw)
		}
	case diff.UUIDColumn:
		e.Bytes(raw)
	default:
		e.TextBytes(raw)
	}
}
